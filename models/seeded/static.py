"""Static models: a table of vectors, as model2vec and Sentence Transformers write one.

Takes a folder and a seed; writes the table, the tokenizer and the settings. Frequent tokens have
shorter rows, as distillation gives them.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from seeded.bert_layouts import bert_tokenizer, roberta_tokenizer
from seeded.files import (
    staged,
    write_card,
    write_json,
    write_modules,
    write_sentence_transformers,
)

_LIBRARY = "sentence_transformers.models"


def write_model2vec(
    folder: Path,
    *,
    width: int = 32,
    rows: int | None = None,
    dtype: str = "float32",
    unigram: bool = False,
    seed: int = 0,
    tokenizer: Path | None = None,
    **config: Any,
) -> Path:
    """Writes a folder as model2vec's `save_pretrained` does.

    Args:
        folder: must not exist.
        width: of a row.
        rows: of the table, with a mapping and a weight for each token; one a token by default.
        dtype: of the table, as NumPy calls it.
        unigram: the tokenizer's kind: pieces of SentencePiece in place of BERT's.
        seed: of the numbers.
        tokenizer: a tokenizer.json to take in place of the small one.
        config: fields of config.json.
    """
    with staged(folder) as part:
        found = _tokenizer(tokenizer, unigram=unigram)
        tokens = max(found.get_vocab(with_added_tokens=True).values()) + 1
        generator = np.random.default_rng(seed)
        tensors: dict[str, NDArray[Any]] = {
            "embeddings": _table(generator, rows or tokens, width, dtype)
        }
        if rows is not None:
            tensors["mapping"] = generator.integers(0, rows, tokens)
            tensors["weights"] = generator.uniform(0.2, 1.5, tokens).astype(np.float32)
        found.enable_truncation(512)
        found.save(str(part / "tokenizer.json"))
        save_file(tensors, part / "model.safetensors")
        settings = {
            "model_type": "model2vec",
            "architectures": ["StaticModel"],
            "tokenizer_name": "seeded/teacher",
            "apply_pca": width,
            "sif_coefficient": 1e-4,
            "hidden_dim": width,
            "seq_length": 1_000_000,
            "normalize": True,
            "pooling": "mean",
            "embedding_dtype": dtype,
        }
        write_json(part / "config.json", settings | config)
        write_modules(part, [f"{_LIBRARY}.StaticEmbedding", f"{_LIBRARY}.Normalize"])
        write_card(part, "static")
    return folder


def write_static_embedding(
    folder: Path,
    *,
    place: str = "",
    width: int = 32,
    seed: int = 0,
    tokenizer: Path | None = None,
    behind: tuple[str, ...] = ("Normalize",),
) -> Path:
    """Writes a folder as Sentence Transformers saves a `StaticEmbedding`.

    Args:
        folder: must not exist.
        place: the module's folder; beside modules.json by default, as newer versions save it.
        width: of a row.
        seed: of the numbers.
        tokenizer: a tokenizer.json to take in place of the small one.
        behind: classes of the modules behind it; their files, if they have any, are not written.
    """
    with staged(folder) as part:
        (part / place).mkdir(exist_ok=True)
        found = _tokenizer(tokenizer, unigram=False)
        found.save(str(part / place / "tokenizer.json"))
        tokens = max(found.get_vocab(with_added_tokens=True).values()) + 1
        table = _table(np.random.default_rng(seed), tokens, width, "float32")
        save_file({"embedding.weight": table}, part / place / "model.safetensors")
        write_sentence_transformers(part, {}, None)
        modules = ["StaticEmbedding", *behind]
        write_json(
            part / "modules.json",
            [
                {
                    "idx": number,
                    "name": str(number),
                    "path": f"{number}_{name}" if number else place,
                    "type": f"{_LIBRARY}.{name}",
                }
                for number, name in enumerate(modules)
            ],
        )
        write_card(part, "static")
    return folder


def _tokenizer(given: Path | None, *, unigram: bool) -> Tokenizer:
    if given is not None:
        return Tokenizer.from_file(str(given))
    return roberta_tokenizer() if unigram else bert_tokenizer()


def _table(generator: np.random.Generator, rows: int, width: int, dtype: str) -> NDArray[Any]:
    lengths = generator.uniform(0.05, 1.0, (rows, 1))
    table: NDArray[Any] = generator.normal(size=(rows, width)) * lengths
    if dtype == "int8":
        table = np.rint(table / np.abs(table).max() * 127)
    return table.astype(dtype)
