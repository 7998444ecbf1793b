"""The items of a request, freed of its protocol, and what comes of them.

A dialect makes items out of JSON, has `Model.work` make them `Work` (models.py), and gets `Done`
back from `Service.embed`, or a `Refusal`. Plain values; nothing is run here.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of a request: the bytes of its file, or the https URL to fetch it from."""

    source: bytes | str


@dataclass(frozen=True, slots=True)
class TokenIds:
    """A text that the client tokenized: the model's own ids, run as they are."""

    ids: tuple[int, ...]


Item: TypeAlias = str | Picture | TokenIds


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Where the time went, in seconds."""

    preparing: float  # tokenizing and decoding
    waiting: float  # until the first of its items ran
    running: float  # from then to the last


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The vectors of a `Work`, all of them: one bad item refuses the whole request."""

    vectors: NDArray[np.float32]  # (n, width) in the items' order; normalized if the call says so
    tokens: NDArray[np.int64]  # (n,) tokens that were run, prompt and special ones included
    image_tokens: int  # what the images count for, see `models.IMAGE_TOKENS`
    truncated: tuple[int, ...]  # which texts were cut
    spent: Spent

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all texts."""
        return int(self.tokens.sum())

    @property
    def total_tokens(self) -> int:
        """Tokens of all texts, and what the images count for."""
        return self.prompt_tokens + self.image_tokens
