"""Text of a file, a pack or a server, made harmless for a terminal or a log.

Takes a str, gives one of the same length. Control characters move the cursor, change colors and
hide what stands before them; line ends forge lines; marks of writing direction reorder what is
read. All of them become spaces. Knows nothing of who shows the text.
"""


def printable(text: str) -> str:
    """The text with a space for every character that is not printable, line ends included."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)
