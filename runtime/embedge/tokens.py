"""Texts to token ids: type checks, prompts, special tokens, the length limit.

Takes whatever a caller passed as texts and gives one int32 array of ids for each, special tokens
and prompt included, cut to the limit; no padding. Knows the `tokenizers` library and nothing of
networks. A `TextTokenizer` never changes after it is made, so threads may share one: the library's
own truncation is a setting of the tokenizer, and therefore not used.
"""

import threading
import unicodedata
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from embedge.errors import (
    CancelledError,
    OptionError,
    PackFileError,
    TextError,
    TextTooLongError,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

OnOverflow = Literal["truncate", "error"]
# Texts that the tokenizer takes at once; between two such calls the caller can cancel.
CHUNK = 64
# A text is first cut to this many characters per token that will be kept. Few texts need more
# (English has about 4), and where one does, a longer piece is tried.
CHARACTERS_PER_TOKEN = 8
# Characters at the end of a cut piece that never count: an added token, such as <|endoftext|>, or
# a word's ending may have been cut through there.
LEAST_MARGIN = 32


class TruncationWarning(UserWarning):
    """A text was longer than the limit and was cut."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a list of texts."""

    ids: list[NDArray[np.int32]]  # one (length,) array a text
    truncated: list[int]  # indices of the texts that were cut


def check_texts(texts: object) -> tuple[list[str], bool]:
    """Refuses whatever is not text, all bad items at once.

    Args:
        texts: one str, or any ordered iterable of them; `numpy.str_` is a str.

    Returns:
        The texts as plain, encodable str, and whether it was one str.

    Raises:
        TextError: some items are not str.
    """
    if isinstance(texts, str):
        return [_clean(texts)], True
    if not isinstance(texts, Iterable) or isinstance(
        texts, (bytes, bytearray, memoryview, Mapping, Set)
    ):
        raise TextError([(0, f"texts is {_describe(texts)}, not a str or a list of str")])
    if isinstance(texts, np.ndarray) and texts.ndim != 1:
        raise TextError([(0, f"texts is an array of {texts.ndim} dimensions, not of 1")])
    items = list(texts)
    bad = [
        (index, f"is {_describe(item)}, not str")
        for index, item in enumerate(items)
        if not isinstance(item, str)
    ]
    if bad:
        raise TextError(bad)
    return [_clean(item) for item in items], False


def check_on_overflow(on_overflow: str) -> None:
    """Refuses an unknown policy before any work."""
    if on_overflow not in get_args(OnOverflow):
        raise OptionError(f'on_overflow {on_overflow!r} is unknown; it is "truncate" or "error"')


class TextTokenizer:
    """A tokenizer file, read once.

    Attributes:
        prefix: ids that the post-processor puts before every text.
        suffix: ids that it puts after every text; a cut keeps them.
    """

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise PackFileError(
                f"{path} is no tokenizer that this `tokenizers` can read: {error}; "
                "export the pack again, or update tokenizers"
            ) from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer: Tokenizer = tokenizer
        self.prefix, self.suffix = _special_tokens(tokenizer, path)
        added = tokenizer.get_added_tokens_decoder().values()
        self._margin = max([LEAST_MARGIN, *(len(token.content) for token in added)])

    def count(self, texts: list[str], *, prompt: str) -> NDArray[np.int64]:
        """Tokens of every text, uncut, with prompt and special tokens: (n,)."""
        prompt = _clean(prompt)
        special = len(self.prefix) + len(self.suffix)
        counts = [
            special + len(ids)
            for start in range(0, len(texts), CHUNK)
            for ids in self._tokenise([prompt + text for text in texts[start : start + CHUNK]])
        ]
        return np.asarray(counts, dtype=np.int64)

    def encode(
        self,
        texts: list[str],
        *,
        prompt: str,
        max_length: int,
        on_overflow: OnOverflow = "truncate",
        cancel: threading.Event | None = None,
    ) -> Encoded:
        """Token ids of every text, at most `max_length` each.

        Args:
            texts: as `check_texts` gives them.
            prompt: put before every text; it counts as part of it.
            max_length: tokens, prompt and special tokens included.
            on_overflow: "truncate" drops the end of what is too long, "error" refuses it.
            cancel: looked at between chunks.

        Raises:
            OptionError: max_length leaves no room for a text.
            TextError: a text has no token at all.
            TextTooLongError: a text is too long, with on_overflow="error".
            CancelledError: `cancel` was set.
        """
        prompt = _clean(prompt)
        room = max_length - len(self.prefix) - len(self.suffix)  # tokens of prompt and text
        prompt_tokens = len(self._tokenise([prompt])[0]) if prompt else 0
        if room < prompt_tokens + 1:
            raise OptionError(
                f"max_length {max_length} is too small: the prompt takes {prompt_tokens} tokens, "
                f"special tokens {max_length - room}, and a text needs 1; "
                f"use {max_length - room + prompt_tokens + 1} or more"
            )
        contents: list[list[int]] = []
        truncated: list[int] = []
        for start in range(0, len(texts), CHUNK):
            if cancel is not None and cancel.is_set():
                raise CancelledError(f"cancelled after tokenising {start} of {len(texts)} texts")
            chunk = [prompt + text for text in texts[start : start + CHUNK]]
            for offset, (content, cut) in enumerate(self._heads(chunk, room)):
                contents.append(content)
                if cut:
                    truncated.append(start + offset)
        if truncated and on_overflow == "error":
            raise TextTooLongError(
                f"{_items(truncated)} longer than {max_length} tokens (prompt and special tokens "
                'included); shorten them, raise max_length=, or pass on_overflow="truncate"'
            )
        if not self.prefix and not self.suffix:
            empty = [index for index, content in enumerate(contents) if not content]
            if empty:
                raise TextError([(i, "has no token, and there is no prompt") for i in empty])
        return Encoded(
            [np.array([*self.prefix, *ids, *self.suffix], dtype=np.int32) for ids in contents],
            truncated,
        )

    def _tokenise(self, texts: list[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _heads(self, texts: list[str], room: int) -> Iterable[tuple[list[int], bool]]:
        """The first `room` tokens of every text, and whether there were more."""
        limit = room * CHARACTERS_PER_TOKEN + self._margin
        short = iter(self._tokenise([text for text in texts if len(text) <= limit]))
        for text in texts:
            if len(text) <= limit:
                ids = next(short)
                yield ids[:room], len(ids) > room
            else:
                yield self._head_of_long(text, room, limit)

    def _head_of_long(self, text: str, room: int, size: int) -> tuple[list[int], bool]:
        """The same without tokenising a megabyte to keep 512 tokens.

        A piece of the text is tokenised instead. Its first tokens are those of the whole text as
        long as they end before the piece's last pre-token (no merge reaches across pre-tokens),
        and before anything at its end that the cut may have changed.
        """
        while size < len(text):
            encoding = self._tokenizer.encode(text[:size], add_special_tokens=False)
            if len(encoding.ids) > room:
                last_word, kept_word = encoding.word_ids[-1], encoding.word_ids[room - 1]
                if (
                    encoding.offsets[room - 1][1] <= _safe_end(text, size - self._margin)
                    and kept_word is not None
                    and last_word is not None
                    and kept_word < last_word
                ):
                    return encoding.ids[:room], True
            size *= 4
        ids = self._tokenise([text])[0]
        return ids[:room], len(ids) > room


def _safe_end(text: str, end: int) -> int:
    """Moves a position back to where nothing after it can change what stands before it.

    Spaces, digits and combining marks are grouped in runs of any length, and a run's grouping or
    order may depend on its end; a mark also changes the letter that it stands on.
    """
    while end > 0:
        character = text[end - 1]
        if not (character.isspace() or character.isnumeric() or unicodedata.combining(character)):
            break
        end -= 1
    return end - 1


def _special_tokens(tokenizer: "Tokenizer", path: Path) -> tuple[list[int], list[int]]:
    """What the post-processor puts before and after a text, found by asking it."""
    for probe in ("a", *sorted(tokenizer.get_vocab(), key=len)[:1]):
        bare = tokenizer.encode(probe, add_special_tokens=False).ids
        full = tokenizer.encode(probe, add_special_tokens=True)
        if not bare:
            continue
        mask = full.special_tokens_mask
        first = mask.index(0) if 0 in mask else len(mask)
        prefix, suffix = full.ids[:first], full.ids[first + len(bare) :]
        if [*prefix, *bare, *suffix] == full.ids:
            return prefix, suffix
        raise PackFileError(
            f"{path}: its post-processor does more than put tokens before and after a text, "
            "which this version does not do"
        )
    raise PackFileError(f"{path}: this tokenizer gives no token for any text")


def _clean(text: str) -> str:
    """Plain str that can be encoded: lone surrogates become U+FFFD, pairs become characters.

    Such strings come from file names and broken JSON; the tokenizer would refuse the whole batch
    with a message about something else.
    """
    text = str.__str__(text)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _describe(item: Any) -> str:
    return "None" if item is None else type(item).__name__


def _items(indices: list[int]) -> str:
    shown = ", ".join(str(index) for index in indices[:10])
    more = f" and {len(indices) - 10} more" if len(indices) > 10 else ""
    return f"item {shown} is" if len(indices) == 1 else f"items {shown}{more} are"
