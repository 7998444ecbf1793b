"""Vocabularies counted from a few sentences, the same in every process.

The trainers of `tokenizers` walk hash tables whose order differs from run to run, so that ties come
out otherwise each time. Takes words; gives pieces in a fixed order. Knows no model.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

_LONGEST = 8  # characters of a piece that is no whole word


def word_pieces(words: Iterable[str], special: Sequence[str], size: int) -> dict[str, int]:
    """WordPiece: special tokens, characters at the start and inside of words, frequent words."""
    counts = Counter(words)
    letters = sorted({letter for word in counts for letter in word})
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters)]
    pieces += _frequent({word: count for word, count in counts.items() if len(word) > 1})
    return {piece: number for number, piece in enumerate(dict.fromkeys(pieces[:size]))}


def unigram_pieces(
    words: Iterable[str], special: Sequence[str], size: int
) -> list[tuple[str, float]]:
    """Unigram: special tokens, then every character and frequent parts of words, with scores.

    A score is the logarithm of how often a piece stands among all, as a trained one about is.
    """
    counts: Counter[str] = Counter()
    for word, count in Counter(words).items():
        for start in range(len(word)):
            for end in range(start + 1, len(word) + 1):
                if end - start <= _LONGEST or end - start == len(word):
                    counts[word[start:end]] += count
    letters = sorted(piece for piece in counts if len(piece) == 1)
    longer = {piece: count for piece, count in counts.items() if len(piece) > 1 and count > 1}
    pieces = [*letters, *_frequent(longer)][: size - len(special)]
    total = sum(counts[letter] for letter in letters)
    scored = [(piece, round(math.log(counts[piece] / total), 6)) for piece in pieces]
    return [*((token, 0.0) for token in special), *scored]


def _frequent(counts: dict[str, int]) -> list[str]:
    """Those that save most characters first; ties by name."""
    return sorted(counts, key=lambda piece: (-counts[piece] * len(piece), piece))
