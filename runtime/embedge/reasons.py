"""What an exception says, for a message of ours: on one line.

Libraries raise exceptions without any text, with several lines, or with a file's content in them.
"""

LONGEST = 300  # characters


def one_line(error: BaseException) -> str:
    """The text of an exception of ours, whole, on one line."""
    return " ".join(str(error).split())


def reason_of(error: BaseException) -> str:
    """The text of anybody's exception: on one line, never empty, of bounded length."""
    try:
        text = one_line(error)
    except Exception:  # a library's __str__ may itself fail
        text = ""
    if not text:
        return type(error).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
