"""Parts of tokenizer.json that the runtime does not obey, or that fail while it encodes.

Takes the parsed file; knows no other. What the library itself refuses or fails at is found by
`trial.py`.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedge.errors import SourceError
from embedge_export.reading.fields import Settings
from embedge_export.source.tokenizer import fields as tables

RESAVE = (
    "save the tokenizer again with transformers (AutoTokenizer.from_pretrained, save_pretrained)"
)
# A text's length times this; ordinary normalizers put a mark in a space's place.
MOST_GROWTH = 100


def check_parts(path: Path, file: Mapping[str, Any], *, cuts: bool) -> None:
    """Parts of tokenizer.json that the runtime does not obey, or that fail while it encodes."""
    Settings(file, tables.FILE_FIELDS, file=str(path))
    truncation, model = file.get("truncation"), file.get("model")
    if cuts and isinstance(truncation, dict):
        Settings(truncation, tables.TRUNCATION_FIELDS, file=str(path), inside="truncation.")
    if (growth := _growth(file.get("normalizer"))) > MOST_GROWTH:
        raise SourceError(
            f"{path}: its normalizer could make a text {growth:.3g} times as long, which no memory "
            "holds; remove its Replace steps, or download it again"
        )
    if not isinstance(model, dict):
        return
    settings = Settings(model, tables.MODEL_FIELDS, file=str(path), inside="model.")
    for name in ("unk_token", "continuing_subword_prefix", "end_of_word_suffix"):
        if not isinstance(model.get(name), str | None):
            raise settings.error(name, f"it must be a text; {RESAVE}")
    unknown, vocabulary = model.get("unk_token"), model.get("vocab")
    # A BPE of bytes has no unknown characters, and may name a token that it never needs.
    words = vocabulary if isinstance(vocabulary, dict) and "merges" not in model else None
    if words is not None and unknown is not None and unknown not in words:
        raise settings.error(
            "unk_token", f"which its vocab does not have: a rare character would fail; {RESAVE}"
        )
    pieces = isinstance(vocabulary, list) and not model.get("byte_fallback")
    if pieces and model.get("unk_id") is None:
        raise settings.error("unk_id", f"so a rare character would fail; {RESAVE}")


def lowercases(normalizer: Any) -> bool:
    """Whether a normalizer of tokenizer.json makes texts lower case."""
    if not isinstance(normalizer, dict):
        return False
    inner = normalizer.get("normalizers")
    if isinstance(inner, list):
        return any(lowercases(one) for one in inner)
    kind = normalizer.get("type")
    return kind == "Lowercase" or (kind == "BertNormalizer" and normalizer.get("lowercase") is True)


def _growth(normalizer: Any) -> float:
    """How many times as long the replacements of a normalizer could make a text."""
    if not isinstance(normalizer, dict):
        return 1
    if isinstance(normalizer.get("normalizers"), list):
        return math.prod(map(_growth, normalizer["normalizers"]))
    content, pattern = normalizer.get("content"), normalizer.get("pattern")
    if normalizer.get("type") != "Replace" or not isinstance(content, str):
        return 1
    replaced = pattern.get("String") if isinstance(pattern, dict) else None
    return max(1, len(content) / max(1, len(replaced) if isinstance(replaced, str) else 1))
