"""The texts that both sides embed: several scripts, lengths from no token to thousands."""

import numpy as np

# fmt: off
_WORDS = (
    "light", "travels", "299,792,458", "metres;", "das", "Licht", "fällt;", "光は速い;", "свет",
    "быстрый;", "x", "=", "y", "/", "2",
)
# fmt: on


def words(count: int, seed: int) -> str:
    """A text of so many words."""
    return " ".join(np.random.default_rng(seed).choice(_WORDS, count))


# Lengths of every kind, so that a batch of them has padding of every amount.
TEXTS = (
    "How fast does light travel in a vacuum?",
    "",
    "x",
    words(60, 1),
    "In a vacuum, light travels 299,792,458 metres every second - a universal constant.",
    words(5, 2),
    "def encode(texts):\n\treturn [model(text) for text in texts]\n",
    words(17, 3),
    "🙂 e\u0301 \ufb01 مرحبا 你好",
)
