"""A file that was read, cut into the passages that an index remembers of it.

Takes the path and the content, gives an `Entry`, or one that says why the file holds nothing.
"""

from dataclasses import replace
from pathlib import Path

from embedge.search.documents import MAX_DOCUMENT_BYTES, Check, PartlyReadError
from embedge.search.files import MAX_FILE_BYTES, Content, RefusedError, decode
from embedge.search.passages import split_text
from embedge.search.readers import passages_of, reader_of, unread_format
from embedge.search.rows import Known
from embedge.search.store import Entry


def most_bytes(path: Path) -> int:
    """How large a file of text may be, or a document."""
    reader = reader_of(path)
    return MAX_FILE_BYTES if reader is None or reader.is_text else MAX_DOCUMENT_BYTES


def entry_of(path: Path, content: Content, check: Check) -> tuple[Entry, str | None]:
    """A file that was read, cut into passages; or why it holds none. And what of it is missing."""
    known = Known(content.stamp, content.digest, None)
    reader = reader_of(path)
    if reader is None or reader.is_text:
        reason = unread_format(path, content.data)
        if reason is not None:
            return Entry(path, replace(known, reason=reason), ()), None
    missing = None
    try:
        lines = None if reader is None else reader.lines(content.data, check)
        if lines is None:
            return Entry(path, known, split_text(decode(content.data))), None
        passages = passages_of(lines, reader)
    except PartlyReadError as error:
        passages, missing = passages_of(error.lines, reader), str(error)
    except RefusedError as error:
        return Entry(path, replace(known, reason=str(error)), ()), None
    return Entry(path, known, passages), missing
