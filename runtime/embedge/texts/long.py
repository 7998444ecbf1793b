"""The first tokens of a text that is too long to be tokenized whole, in bounded memory.

Takes the text, how many tokens are wanted and a function that encodes; gives the ids, and whether
there were more. Knows no file and no network.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Any

GROWTH = 4  # each piece is so many times as long as the one before
# Of a run of spaces only so many are kept, where the tokenizer takes any number for one.
KEPT_SPACES = 64
_SPACES = re.compile(rf"([ \t\r\n]{{{KEPT_SPACES}}})[ \t\r\n]+")


def head_of_long(
    text: str,
    room: int,
    *,
    encode: Callable[[str], Any],
    first: int,
    most: int,
    margin: int,
) -> tuple[list[int], bool]:
    """The first `room` ids of a text, and whether it was cut.

    A piece of the text is encoded instead of a megabyte. Its first tokens are those of the whole
    text as long as they end before the piece's last word (no merge reaches across words), and
    before anything at its end that the cut may have changed. Otherwise a longer piece is tried.

    What never comes to such an end (one endless word, or run of spaces, digits or marks) is cut
    for good at `most` characters, and counts as cut: its tokens are those of its first `most`
    characters. Merges look at their neighbors, so these are the tokens of the whole wherever
    a run goes on as it began; it is not proven for a word or run whose tokens depend on an end
    that far away. A text of fewer than `most` characters always gets the tokens of the whole.

    Args:
        text: longer than `first`.
        room: how many ids to keep.
        encode: gives a `tokenizers.Encoding`, without special tokens.
        first: characters of the first piece.
        most: characters of the longest.
        margin: characters at a piece's end that never count.
    """
    size = first
    while size < len(text):
        encoding = encode(text[:size])
        ids: list[int] = encoding.ids
        if len(ids) > room:
            last_word, kept_word = encoding.word_ids[-1], encoding.word_ids[room - 1]
            if (
                encoding.offsets[room - 1][1] <= _safe_end(text, size - margin)
                and kept_word is not None
                and last_word is not None
                and kept_word < last_word
            ):
                return ids[:room], True
        if size >= most:
            return ids[:room], True
        size = min(size * GROWTH, most)
    ids = encode(text).ids
    return ids[:room], len(ids) > room


def pieces_of(text: str, most: int) -> list[str]:
    """A text in pieces of at most `most` characters, cut before a space where there is one."""
    pieces, start = [], 0
    while len(text) - start > most:
        end = text.rfind(" ", start + most // 2, start + most)
        end = start + most if end < 0 else end
        pieces.append(text[start:end])
        start = end
    return [*pieces, text[start:]]


def fold_spaces(text: str) -> str:
    """Shortens long runs of spaces, for tokenizers that take any number of them for one."""
    return _SPACES.sub(r"\1", text)


def _safe_end(text: str, end: int) -> int:
    """Moves a position back to where nothing after it can change what stands before it.

    Spaces, digits and combining marks are grouped in runs of any length, and a run's grouping or
    order may depend on its end; a mark also changes the letter that it stands on.
    """
    while end > 0:
        character = text[end - 1]
        if not (character.isspace() or character.isnumeric() or unicodedata.combining(character)):
            break
        end -= 1
    return end - 1
