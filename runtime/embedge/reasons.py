"""What an exception says, for a message of ours: one line, never empty, of bounded length.

Libraries raise exceptions without any text, with several lines, or with a file's content in them.
"""

LONGEST = 300  # characters


def reason_of(error: BaseException) -> str:
    """The exception's text on one line; its class where it has none."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # a library's __str__ may itself fail
        text = ""
    if not text:
        return type(error).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
