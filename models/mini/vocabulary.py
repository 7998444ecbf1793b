"""Which of the teacher's pieces the student keeps, and its tokenizer.

WordPiece takes the longest piece that fits. All pieces of one character stay, so that whatever the
teacher can spell, the student can; longer pieces go where they are rare in English texts. What is
cut out is spelled with smaller pieces: no text has an unknown token that it had not before.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

SIZE = 28_672
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
COMMON = 12_000  # of the teacher's pieces, which stand in the order of how often they occur
COUNTED = 200_000  # texts that pieces are counted in


def plain(file: Path) -> Tokenizer:
    """A tokenizer that neither cuts nor pads."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def chosen(texts: Sequence[str], teacher: Tokenizer, *, size: int = SIZE) -> NDArray[np.int64]:
    """The teacher's ids of the pieces that are kept, ascending: a kept piece's new id is its place.

    Args:
        texts: English, to count pieces in.
        teacher: its tokenizer.
        size: how many are kept.
    """
    counts: Counter[int] = Counter()
    for start in range(0, len(texts), 32_768):
        for encoding in teacher.encode_batch_fast(list(texts[start : start + 32_768])):
            counts.update(encoding.ids)
    order = sorted(teacher.get_vocab().items(), key=lambda item: item[1])

    def worth(piece: str, number: int) -> float:
        if piece in SPECIAL or len(piece.removeprefix("##")) == 1:
            return np.inf
        if not piece.isascii() or piece.startswith("[unused"):
            return 0.0
        # Common here, or common where the teacher's pieces were chosen.
        return (counts[number] + 1) / (number + COMMON)

    best = sorted(order, key=lambda item: worth(*item), reverse=True)[:size]
    return np.sort(np.array([number for _, number in best], np.int64))


def write(teacher: Path, kept: NDArray[np.int64], file: Path) -> None:
    """Writes tokenizer.json: the teacher's, of the kept pieces alone, without limits."""
    plainly = json.loads(plain(teacher).to_str())
    names = {number: piece for piece, number in plainly["model"]["vocab"].items()}
    ids = {names[int(old)]: new for new, old in enumerate(kept)}
    plainly["model"]["vocab"] = ids
    for token in plainly["added_tokens"]:
        token["id"] = ids[token["content"]]
    for name, token in plainly["post_processor"].get("special_tokens", {}).items():
        token["ids"] = [ids[name]]
    for end in ("sep", "cls"):  # as BertProcessing has them
        if end in plainly["post_processor"]:
            name, _ = plainly["post_processor"][end]
            plainly["post_processor"][end] = [name, ids[name]]
    part = file.with_suffix(".part")
    Tokenizer.from_str(json.dumps(plainly)).save(str(part))
    part.replace(file)


def kept(texts: Sequence[str], teacher: Path, work: Path) -> NDArray[np.int64]:
    """What `chosen` gives, with the tokenizer written; read again if it is there."""
    numbers, file = work / "pieces.npy", work / "tokenizer.json"
    if not (numbers.exists() and file.exists()):
        found = chosen(texts[:: max(1, len(texts) // COUNTED)], plain(teacher))
        write(teacher, found, file)
        np.save(numbers, found)
    found = np.load(numbers)
    return found
