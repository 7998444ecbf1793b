"""The folders that `folders.py` wrote, and how a consumer's vectors are compared with embedge's."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FOLDERS = Path(os.environ.get("EMBEDGE_CONSUMERS", "build/consumers")).resolve()
MODELS = (
    *("small", "qwen3", "llama", "nano"),
    *("bert", "xlm-roberta", "distilbert", "mpnet", "modernbert"),
)
# A layer behind the pooling, or several poolings: Sentence Transformers and the graphs know them.
HEADED = ("headed", "mini")
# transformers before version 5 has no EuroBERT.
PLAIN = tuple(name for name in MODELS if name != "nano")
# The graph of a precision, and the least cosine to the pack's vectors in that precision.
GRAPHS = {"fp32": "model", "fp16": "model_fp16", "int8": "model_quantized"}
LEAST = {"fp32": 0.99999, "fp16": 0.99999, "int8": 0.99999}
TEXTS: list[str] = json.loads((FOLDERS / "texts.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Model:
    """A model's hub folder and pack, of one task."""

    name: str
    hub: Path
    pack: Path
    prompts: dict[str, str]
    default_prompt: str | None
    pooling: str  # "lasttoken", "mean_tokens" or "cls_token"; of HEADED several, with "+" between

    def prompt(self, kind: str) -> str:
        """What stands before a "query" or a "document"."""
        name = kind if kind in self.prompts else self.default_prompt
        return self.prompts.get(name or "", "")

    def expected(self, kind: str, precision: str = "fp32") -> np.ndarray:
        """The vectors of TEXTS by `Embedder`, float32 (texts, dimension)."""
        with np.load(FOLDERS / self.name / "expected.npz") as vectors:
            return np.asarray(vectors[f"{precision}.{kind}"])


def model(name: str) -> Model:
    """One of MODELS."""
    place = FOLDERS / name
    (hub,) = (place / "hub").iterdir()
    settings = read(hub / "config_sentence_transformers.json")
    pooling = read(hub / "1_Pooling/config.json")
    modes = [key.removeprefix("pooling_mode_") for key, value in pooling.items() if value is True]
    return Model(
        name,
        hub,
        place / "pack",
        settings["prompts"],
        settings["default_prompt_name"],
        "+".join(modes),
    )


def read(path: Path) -> dict[str, Any]:
    """A JSON object."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def least_cosine(found: Any, expected: np.ndarray) -> float:
    """Of the rows of two arrays (texts, dimension), in float64."""
    one, other = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert one.shape == other.shape
    assert np.isfinite(one).all()
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float((np.sum(one * other, axis=1) / lengths).min())


def pooled(rows: Any, mask: Any, pooling: str) -> np.ndarray:
    """Rows (B, S, width) made (B, width) by the mask (B, S), padding on either side."""
    rows, mask = np.asarray(rows, np.float64), np.asarray(mask)
    if pooling == "mean_tokens":
        return np.asarray((rows * mask[..., None]).sum(1) / mask.sum(1, keepdims=True))
    places = np.arange(mask.shape[1]) * mask
    last = places.argmax(1) if pooling == "lasttoken" else mask.argmax(1)
    return np.asarray(rows[np.arange(len(rows)), last])


def check_prompts(embedder: Any, name: str, precision: str) -> None:
    """Sentence Transformers' queries, documents and default are those of `Embedder`."""
    about = model(name)
    queries, documents = embedder.encode_query(TEXTS), embedder.encode_document(TEXTS)
    as_query, as_document = (about.expected(kind, precision) for kind in ("query", "document"))
    assert least_cosine(queries, as_query) >= LEAST[precision]
    assert least_cosine(documents, as_document) >= LEAST[precision]
    if about.prompt("query") != about.prompt("document"):
        assert least_cosine(documents, as_document) > least_cosine(documents, as_query)
    if about.default_prompt == "document":
        assert least_cosine(embedder.encode(TEXTS), as_document) >= LEAST[precision]
