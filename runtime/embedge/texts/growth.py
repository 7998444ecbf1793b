"""How much longer a tokenizer may make a text before it cuts it up, found without running it.

A tokenizer.json can replace every letter by a hundred, five times over, and so turn a short text
into more than any memory holds. Takes a tokenizer, gives a reason to refuse it or None. Real ones
replace a space by a space, or a run of spaces by a mark.
"""

import base64
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_GROWTH = 64  # times as many characters
MOST_ADDED = 1000  # characters, before a text or a part of a word
MOST_MAPPED = 256  # bytes that one character may become by a table (Unicode's own: 33)


def find_growth(tokenizer: "Tokenizer") -> str | None:
    """Why texts could grow without reason; None if they cannot. Goes on after "its"."""
    growth = 1.0
    for step in _steps(tokenizer.normalizer):
        kind = step.get("type")
        if kind == "Replace":
            growth *= _of_replacement(step)
        elif kind == "Prepend" and len(str(step.get("prepend"))) > MOST_ADDED:
            return f"normalizer puts more than {MOST_ADDED:,} characters before every text"
        elif kind == "Precompiled" and _longest_mapped(step) > MOST_MAPPED:
            return f"normalizer makes more than {MOST_MAPPED:,} bytes of one character"
    if growth > MOST_GROWTH:
        return f"normalizer can make a text {growth:,.0f} times as long"
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if len(getattr(tokenizer.model, name, None) or "") > MOST_ADDED:
            return f"model has a {name} of more than {MOST_ADDED:,} characters"
    return None


def _steps(normalizer: Any) -> Iterator[dict[str, Any]]:
    """The steps of a normalizer, those within sequences too."""
    waiting = [] if normalizer is None else [json.loads(normalizer.__getstate__())]
    while waiting:
        step = waiting.pop()
        waiting += step.get("normalizers", ())
        yield step


def _of_replacement(step: dict[str, Any]) -> float:
    text = len(str(step.get("content")))
    pattern = step.get("pattern") or {}
    if "String" in pattern:
        return max(1.0, text / max(1, len(pattern["String"])))
    return 1.0 + text  # a pattern may match nothing at all, between any two characters


def _longest_mapped(step: dict[str, Any]) -> int:
    """The longest text, in bytes, in the table of a normalizer of SentencePiece."""
    table = base64.b64decode(step.get("precompiled_charsmap") or "")
    start = 4 + int.from_bytes(table[:4], "little")  # what comes before finds the texts
    return max(map(len, table[start:].split(b"\0")), default=0)
