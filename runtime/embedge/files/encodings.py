"""How the characters of a text file are written, by the byte order mark that it starts with.

Takes bytes, gives the name of an encoding, or the text. Without a mark a text is UTF-8; nothing is
guessed, for a wrong guess gives vectors of garbage without a word. Knows neither files nor lines.
"""

# The longer marks first: that of UTF-16 is the start of one of UTF-32.
_MARKS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
LONGEST_MARK = 4  # bytes


class NotTextError(ValueError):
    """Why bytes are no text that can be read: a phrase for "… is", such as "binary, no text"."""


def find_encoding(head: bytes) -> str:
    """Python's name of the encoding of a file, such that decoding drops the mark.

    Args:
        head: the first bytes of the file, or all of them; with more, more is seen.

    Raises:
        NotTextError: they hold NUL and no mark: binary, or UTF-16 without one.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if b"\0" in head:
        raise NotTextError("binary, no text")
    return "utf-8"


def may_grow_to_mark(head: bytes) -> bool:
    """Whether a few more bytes could make a mark of these, or another one."""
    return any(len(head) < len(mark) and mark.startswith(head) for mark, _ in _MARKS)


def decode_text(data: bytes) -> str:
    """The text of a whole file.

    Raises:
        NotTextError: it is in none of the encodings, or holds the character NUL.
    """
    encoding = find_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding in ("utf-16", "utf-32"):
            raise NotTextError(f"damaged {encoding.upper()}") from None
        found = f"byte 0x{data[error.start]:02x} at position {error.start + 1}"
        raise NotTextError(
            f"neither UTF-8 ({found}) nor UTF-16 or UTF-32 with a byte order mark"
        ) from None
    if "\0" in text:
        raise NotTextError("binary, no text")
    return text
