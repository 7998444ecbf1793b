"""What every contender is given: shapes, such as 16x64, and two streams of mixed lengths.

Takes the name of a piece of work and gives the token ids of its texts, the same for all. Needs
NumPy alone, since the workers read it in environments of their own.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

# Tokens of real sentences and paragraphs: those of the Python language reference, counted by
# v5-text-small's tokenizer without a prompt; lengths.py says how, and prints them again.
_SENTENCES = """
2 5 6 6 7 7 7 7 7 8 8 8 8 8 8 9 9 9 9 9 9 9 10 10 10 10 10 10 10 10 10 11 11 11 11 11 11 11 11
11 12 12 12 12 12 12 12 12 13 13 13 13 13 13 13 13 13 13 13 14 14 14 14 14 14 14 14 14 15 15 15
15 15 15 15 15 15 16 16 16 16 16 16 16 16 16 16 16 17 17 17 17 17 17 17 17 17 17 18 18 18 18 18
18 18 18 19 19 19 19 19 19 19 19 19 19 19 19 19 20 20 20 20 20 20 20 20 20 21 21 21 21 21 21 21
21 21 22 22 22 22 22 22 22 22 23 23 23 23 23 23 23 23 23 24 24 24 24 24 24 24 24 25 25 25 25 25
26 26 26 26 26 26 26 26 26 27 27 27 27 27 28 28 28 28 28 29 29 29 29 29 29 30 30 30 31 31 31 31
31 31 31 32 32 32 32 32 33 33 33 33 33 34 34 34 35 35 36 36 36 37 37 37 38 38 38 39 39 39 40 40
41 41 42 43 43 44 44 45 46 46 46 47 48 49 51 52 53 55 56 57 60 66 73 78 102
"""
_PARAGRAPHS = """
14 21 23 24 25 28 29 30 32 33 33 35 37 38 39 39 41 42 43 43 44 45 46 47 48 48 50 51 51 53 54 55
56 57 58 58 60 61 63 64 65 66 67 69 70 73 75 76 79 81 82 84 86 88 91 95 100 102 110 115 122 132
156 173
"""
SEED = 20_261_124
_SHAPE = re.compile(r"([1-9]\d*)x([1-9]\d*)", re.ASCII)


def _stream(counts: str) -> tuple[int, ...]:
    """The lengths in an order in which texts might arrive, always the same."""
    ordered = np.array([int(count) for count in counts.split()])
    return tuple(np.random.default_rng(SEED).permutation(ordered).tolist())


STREAMS = {"sentences": _stream(_SENTENCES), "paragraphs": _stream(_PARAGRAPHS)}


@dataclass(frozen=True, slots=True)
class Work:
    """Texts to be embedded in one call."""

    name: str
    lengths: tuple[int, ...]  # tokens of each text

    @property
    def tokens(self) -> int:
        """Of all texts, padding not counted."""
        return sum(self.lengths)

    @property
    def stream(self) -> bool:
        """Whether the lengths are mixed, so that every contender batches them as it does best."""
        return self.name in STREAMS


def parse(name: str) -> Work:
    """The work of that name: "16x64" is 16 texts of 64 tokens; or one of the streams.

    Raises:
        ValueError: it is neither.
    """
    if name in STREAMS:
        return Work(name, STREAMS[name])
    shape = _SHAPE.fullmatch(name)
    if shape is None:
        raise ValueError(
            f"{name!r} is no work: write texts x tokens, 4x128, or {', '.join(STREAMS)}"
        )
    return Work(name, (int(shape[2]),) * int(shape[1]))


def texts_of(work: Work, vocabulary: int) -> list[Ids]:
    """Random tokens; special ones, which stand at a vocabulary's end, are left out.

    Args:
        work: what is asked for.
        vocabulary: rows of the model's embedding table.

    Returns:
        One (length,) array a text.
    """
    generator = np.random.default_rng([SEED, len(work.lengths), work.tokens])
    most = vocabulary - vocabulary // 50
    return [generator.integers(0, most, length) for length in work.lengths]
