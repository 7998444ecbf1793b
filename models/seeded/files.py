"""Everything but weights: the staged folder, the tokenizer, Sentence Transformers files, the card.

Takes a folder and what the files are to say; writes them. Knows no model by name but the v5
family, whose prompts and modules all its members share, and no sizes.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

_PROMPTS = {"query": "Query: ", "document": "Document: "}
INSTRUCTION = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
)
# How each cuts a text into words: Llama 3 takes digits in threes. transformers builds Qwen's anew
# from the class name, so it must be this.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| "
    r"?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What a family's tokenizers have in common."""

    digits: str
    compose: bool  # NFC first
    whole_words: bool  # a word that is a token is never built from merges
    special: tuple[str, ...]  # in the order of their ids, after all others


QWEN_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN = Style(digits=r"\p{N}", compose=True, whole_words=False, special=QWEN_TOKENS)
EUROBERT = Style(
    digits=r"\p{N}{1,3}",
    compose=False,
    whole_words=True,
    special=(
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|mask|>",
        "<|parallel_sep|>",
        "<|pad|>",
    ),
)
# Llama 3's tables keep this many rows for special tokens, so that of 128,256 the first is 128000.
_RESERVED = 256
SENTENCES = (
    "How fast does light travel in a vacuum?",
    "In a vacuum, light travels 299,792,458 metres every second - a universal constant of nature.",
    "Which planet is known as the Red Planet?",
    "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
    "Jupiter, the largest planet in our solar system, has a prominent red spot.",
    "The quick brown fox jumps over the lazy dog near the river bank.",
    "Query: what is the difference between a list and a tuple in Python?",
    "Document: Photosynthesis turns sunlight, water and carbon dioxide into sugar and oxygen.",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "La lumière voyage très vite dans le vide, plus vite que tout le reste.",
    "El planeta rojo es el cuarto planeta del sistema solar.",
    "光在真空中的速度是每秒二十九万九千七百九十二公里。",
    "火星は太陽系の第四惑星で、赤い惑星として知られている。",
    "Свет в вакууме движется быстрее всего на свете.",
    "الضوء أسرع شيء في الكون.",
    "def encode(texts, *, task=None): return [vector for vector in model(texts)]",
)


@contextmanager
def staged(folder: Path, *, replacing: str | None = None) -> Iterator[Path]:
    """A folder on the same disk, renamed to `folder` when the block ends well, else removed.

    Args:
        folder: what to write. An empty folder of this name counts as none.
        replacing: the heading of the card of a model that may stand there, to be replaced.

    Raises:
        FileExistsError: something else stands there; nothing was touched.
    """
    _check_free(folder, replacing)
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{folder.name[:100]}-", dir=folder.parent))
    try:
        part = place / "new"
        part.mkdir()
        yield part
        _check_free(folder, replacing)
        if folder.exists():
            known = {path.name for path in part.iterdir()}
            if others := sorted(path.name for path in folder.iterdir() if path.name not in known):
                raise FileExistsError(
                    f"{folder} holds {others[0]!r} too, which would be lost; move it away"
                )
            folder.rename(place / "old")
        part.rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _check_free(folder: Path, replacing: str | None) -> None:
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    if replacing is None:
        raise FileExistsError(f"{folder} exists already; remove it, or name another folder")
    card = folder / "README.md"
    if not card.is_file() or f"# {replacing}" not in card.read_text(errors="replace").splitlines():
        raise FileExistsError(
            f"{folder} exists already, and does not hold {replacing}; remove it, or name another "
            "folder"
        )


def write_tokenizer(
    folder: Path,
    given: Path | None,
    style: Style,
    *,
    begin: str | None = None,
    close: str | None = None,
    vocab: int | None = None,
) -> dict[str, int]:
    """Writes tokenizer.json; gives the ids of all tokens.

    Args:
        folder: where to.
        given: a tokenizer to take; a small one is made otherwise.
        style: of the small one.
        begin: a token to put before every text.
        close: a token to put after every text.
        vocab: rows of the table. Llama 3's special tokens then have the ids of a table that long.
    """
    if given is not None and begin is None and close is None:
        shutil.copyfile(given, folder / "tokenizer.json")  # to the byte
        return Tokenizer.from_file(str(given)).get_vocab(with_added_tokens=True)
    tokenizer = _train(style, vocab) if given is None else Tokenizer.from_file(str(given))
    around = [token for token in (begin, close) if token is not None]
    numbers = {token: tokenizer.token_to_id(token) for token in around}
    for token, number in numbers.items():
        if number is None:
            raise ValueError(f"{given} has no token {token!r} to append")
    if around:
        one, two = (
            " ".join(part for part in (begin, text, close) if part is not None)
            for text in ("$A", "$B")
        )
        template = processors.TemplateProcessing(
            single=one, pair=f"{one} {two}", special_tokens=list(numbers.items())
        )
        tokenizer.post_processor = processors.Sequence(
            [processors.ByteLevel(trim_offsets=False), template]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer.get_vocab(with_added_tokens=True)


def new_tokenizer(style: Style = QWEN) -> Tokenizer:
    """A byte-level BPE built as the family's, before it has learnt any token."""
    tokenizer = Tokenizer(models.BPE())
    if style.compose:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS.format(digits=style.digits)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _train(style: Style, vocab: int | None) -> Tokenizer:
    """A byte-level BPE of a few hundred tokens, nothing appended."""
    tokenizer = new_tokenizer(style)
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if style.whole_words:
        trained = json.loads(tokenizer.to_str())["model"]
        words = dict(trained["vocab"])
        # Rows that no text reaches, up to where the special tokens have their real ids.
        words |= {f"unused {n}": n for n in range(len(words), (vocab or 0) - _RESERVED)}
        merges = [tuple(pair) for pair in trained["merges"]]
        tokenizer.model = models.BPE(vocab=words, merges=merges, ignore_merges=True)
    # After the vocabulary, where Qwen and Llama have theirs.
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in style.special])
    return tokenizer


def tokenizer_config(kind: str, *, eos: str, pad: str | None, limit: int) -> dict[str, Any]:
    """tokenizer_config.json, for a tokenizer of class `kind`."""
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": eos,
        "model_max_length": limit,
        "padding_side": "right",
        "tokenizer_class": kind,
        "unk_token": None,
    }
    return config if pad is None else config | {"pad_token": pad}


def write_v5_files(folder: Path, name: str) -> None:
    """Writes the Sentence Transformers files and the card of a v5 model."""
    write_sentence_transformers(folder, _PROMPTS, "document")
    write_modules(folder, ["custom_st.Transformer"], kwargs=["task", "truncate_dim"])
    write_card(folder, name)


def write_sentence_transformers(
    folder: Path, prompts: Mapping[str, str], default: str | None
) -> None:
    """Writes the prompts, and the name of the one used by default."""
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "prompts": dict(prompts),
            "default_prompt_name": default,
            "similarity_fn_name": "cosine",
        },
    )


def write_modules(folder: Path, types: list[str], **extra: Any) -> None:
    """Writes modules.json: the classes that a text passes through, in order."""
    modules = []
    for index, kind in enumerate(types):
        place = f"{index}_{kind.rpartition('.')[2]}" if index else ""
        modules.append({"idx": index, "name": str(index), "path": place, "type": kind} | extra)
    write_json(folder / "modules.json", modules)


def write_pooling(folder: Path, width: int, flag: str) -> None:
    """Writes modules.json of a network, a pooling and a norm, and the pooling's settings."""
    types = ("Transformer", "Pooling", "Normalize")
    write_modules(folder, [f"sentence_transformers.models.{kind}" for kind in types])
    flags = ("cls_token", "mean_tokens", "max_tokens", "lasttoken")
    settings = {f"pooling_mode_{name}": name == flag for name in flags}
    (folder / "1_Pooling").mkdir()
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": width, "include_prompt": True} | settings,
    )


def write_card(folder: Path, name: str) -> None:
    """Writes the model card, README.md."""
    (folder / "README.md").write_text(
        f"---\nlicense: cc0-1.0\nmodel_name: seeded/{name}\n---\n\n"
        f"# {name}\n\nA seeded random model in a real model's layout, written by models/seeded. "
        "Its vectors mean nothing.\n",
        encoding="utf-8",
    )


def write_json(path: Path, value: Any) -> None:
    """Writes `value` in the one form that all JSON here has."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
