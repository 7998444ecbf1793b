"""Texts to token ids: prompts, special tokens, the length limit, ids that the network knows.

Takes texts that were checked and gives one int32 array of ids for each, special tokens and prompt
included, cut to the limit; no padding. Of networks it knows only how many ids they take. A
`TextTokenizer` never changes after it is made, so threads may share one: the library's own
truncation is a setting of the tokenizer, and therefore not used.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedge.errors import (
    CancelledError,
    OptionError,
    PackFileError,
    TextError,
    TextTooLongError,
)
from embedge.items import OnError
from embedge.pack.checks import MAX_VOCABULARY
from embedge.texts.checks import clean
from embedge.texts.long import fold_spaces, head_of_long, pieces_of
from embedge.texts.tokenizer_library import (
    Piece,
    TokenizerError,
    decode,
    folds_spaces,
    guarded,
    pieces,
    read_tokenizer,
    special_tokens,
    tokenize,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

OnOverflow = Literal["truncate", "error"]
Head = tuple[list[int], bool]  # the ids of a text that are kept, and whether there were more
Item = TypeVar("Item")
# What the tokenizer takes at once, in texts and in characters; between two such calls the caller
# can cancel. It takes up to 400 bytes of memory a character (digits, each a token of its own), and
# a regular expression of some tokenizers gives up at a run of ten million spaces.
CHUNK = 64
PIECE = 2**18
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

    ids: list[NDArray[np.int32]]  # one (length,) array a text; (0,) for one that cannot be used
    truncated: list[int]  # indices of the texts that were cut


class TextTokenizer:
    """A tokenizer file, read once.

    Args:
        path: the file.
        vocabulary_size: ids that the network has vectors for, from 0; None: not known.
        most: tokens of the longest text that the network takes, for messages; None: not known.

    Attributes:
        prefix: ids that the post-processor puts before every text.
        suffix: ids that it puts after every text; a cut keeps them.

    Raises:
        PackFileError: the file is not a tokenizer, or one that can encode nothing.
    """

    def __init__(
        self, path: Path, *, vocabulary_size: int | None = None, most: int | None = None
    ) -> None:
        self._most = most
        try:
            tokenizer = read_tokenizer(path)
            with guarded():
                vocabulary = tokenizer.get_vocab()
                added = tokenizer.get_added_tokens_decoder().values()
            self.prefix, self.suffix = special_tokens(tokenizer, path, vocabulary)
            self._folds_spaces = folds_spaces(tokenizer)
        except TokenizerError as error:
            raise PackFileError(
                f"{path} is not a tokenizer that this `tokenizers` can use: {error}; "
                "export the pack again, or update tokenizers"
            ) from None
        self._tokenizer: Tokenizer = tokenizer
        self._margin = max([LEAST_MARGIN, *(len(token.content) for token in added)])
        # Most tokenizers can give no id beyond the network's table, and need no further look.
        rows = MAX_VOCABULARY if vocabulary_size is None else vocabulary_size
        self._rows = rows if max(vocabulary.values(), default=0) >= rows else None
        if outside := [id_ for id_ in (*self.prefix, *self.suffix) if not self._known(id_)]:
            raise PackFileError(
                f"{path} puts the token {outside[0]} to every text, and the network has vectors "
                f"for {self._rows} tokens only; export the pack again"
            )

    def count(self, texts: Sequence[str], *, prompt: str) -> NDArray[np.int64]:
        """Tokens of every text, uncut, with prompt and special tokens: (n,).

        A text of more than PIECE characters (a quarter of a million) is counted in pieces, so that
        memory stays bounded; each cut may make the sum wrong by a token or two.

        Raises:
            TextError: the tokenizer cannot take some texts.
        """
        prompt = clean(prompt)
        counts = np.full(len(texts), len(self.prefix) + len(self.suffix), np.int64)
        bad: dict[int, str] = {}
        pieces = (
            (index, piece)
            for index, text in enumerate(texts)
            for piece in pieces_of(prompt + text, PIECE)
        )
        for chunk in _chunks(pieces, size=lambda piece: len(piece[1])):
            found = tokenize(self._tokenizer, [piece for _, piece in chunk])
            for (index, _), ids in zip(chunk, found, strict=True):
                if isinstance(ids, TokenizerError):
                    bad[index] = _untaken(ids)
                else:
                    counts[index] += len(ids)
        if bad:
            raise TextError(sorted(bad.items()))
        return counts

    def pieces(self, text: str, *, special: bool) -> list[Piece]:
        """The tokens of a text, at most PIECE characters, one by one; uncut, without a prompt.

        Raises:
            TextError: it is longer, or the tokenizer cannot take it.
        """
        if len(text) > PIECE:
            raise TextError([(0, f"has {len(text):,} characters, more than {PIECE:,}")])
        try:
            return pieces(self._tokenizer, clean(text), special=special)
        except TokenizerError as error:
            raise TextError([(0, _untaken(error))]) from None

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        """The text of token ids.

        Raises:
            TextError: an id stands for no token.
        """
        size = self._tokenizer.get_vocab_size()
        if bad := [id_ for id_ in ids if not 0 <= id_ < size]:
            raise TextError([(0, f"{bad[0]} is not a token id; they are below {size}")])
        try:
            return decode(self._tokenizer, ids, skip_special=skip_special)
        except TokenizerError as error:
            raise TextError([(0, _untaken(error))]) from None

    def encode(
        self,
        texts: Sequence[str | None],
        *,
        prompt: str,
        max_length: int,
        on_overflow: OnOverflow = "truncate",
        on_error: OnError | None = None,
        on_too_long: OnError | None = None,
        progress: Callable[[], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> Encoded:
        """Token ids of every text, at most `max_length` each.

        Texts that are long for `max_length` are tokenized up to where the tokens that count end,
        and never more than a quarter of a million characters of them, or 32 for each token: see
        `long.head_of_long`.

        Args:
            texts: as `check_texts` gives them; None gives no ids.
            prompt: put before every text; it counts as part of it.
            max_length: tokens, prompt and special tokens included.
            on_overflow: "truncate" drops the end of what is too long, "error" refuses it.
            on_error: called as on_error(index, reason) for every text that cannot be used, which
                then has no ids, in place of the TextError.
            on_too_long: the same in place of the TextTooLongError.
            progress: called after every text that was long.
            cancel: looked at between chunks and between the pieces of long texts.

        Raises:
            OptionError: max_length leaves no room for a text.
            TextError: a text has no token at all, or one that the network does not know, or the
                tokenizer cannot take it.
            TextTooLongError: a text is too long, with on_overflow="error".
            CancelledError: `cancel` was set.
        """
        prompt = clean(prompt)
        room = max_length - len(self.prefix) - len(self.suffix)  # tokens of prompt and text
        self._check_room(prompt, room, max_length)
        bad: dict[int, str] = {}
        ids: list[NDArray[np.int32]] = [np.zeros(0, np.int32)] * len(texts)
        truncated: list[int] = []
        long: list[int] = []
        for index, head in self._heads(texts, prompt, room, progress=progress, cancel=cancel):
            if isinstance(head, TokenizerError):
                bad[index] = _untaken(head)
                continue
            content, cut = head
            if cut and on_overflow == "error":
                long.append(index)
            elif not content and not self.prefix and not self.suffix:
                bad[index] = "has no token, and there is no prompt"
            elif not self._known(most := max(content, default=0)):
                bad[index] = (
                    f"gives the token {self._tokenizer.id_to_token(most)!r} (id {most}), and the "
                    f"network has vectors for {self._rows} tokens only; take it out of the text"
                )
            else:
                ids[index] = np.array([*self.prefix, *content, *self.suffix], dtype=np.int32)
                if cut:
                    truncated.append(index)
        if long and on_too_long is None:
            raise TextTooLongError(
                f"{_items(sorted(long))} longer than {max_length} tokens (prompt and special "
                f"tokens included); shorten them, {raising(max_length, self._most)}or pass "
                'on_overflow="truncate"'
            )
        for index in sorted(long):
            assert on_too_long is not None
            on_too_long(index, f"is longer than {max_length} tokens, prompt and special included")
        if bad and on_error is None:
            raise TextError(sorted(bad.items()))
        for index, reason in sorted(bad.items()):
            assert on_error is not None
            on_error(index, reason)
        return Encoded(ids, sorted(truncated))

    def _check_room(self, prompt: str, room: int, max_length: int) -> None:
        if len(prompt) > PIECE:
            raise OptionError(
                f"the prompt has {len(prompt):,} characters, more than the {PIECE:,} that the "
                "tokenizer takes at once; pass a shorter one"
            )
        tokens = tokenize(self._tokenizer, [prompt])[0] if prompt else []
        if isinstance(tokens, TokenizerError):
            raise OptionError(f"the tokenizer cannot take the prompt ({tokens}); pass another")
        if room < len(tokens) + 1:
            raise OptionError(
                f"max_length {max_length} is too small: the prompt takes {len(tokens)} tokens, "
                f"special tokens {max_length - room}, and a text needs 1; "
                f"use {max_length - room + len(tokens) + 1} or more"
            )

    def _known(self, token: int) -> bool:
        return self._rows is None or token < self._rows

    def _heads(
        self,
        texts: Sequence[str | None],
        prompt: str,
        room: int,
        *,
        progress: Callable[[], None] | None,
        cancel: threading.Event | None,
    ) -> Iterator[tuple[int, Head | TokenizerError]]:
        """The head of every text with its index: the short ones first, many at a time."""
        limit = room * CHARACTERS_PER_TOKEN + self._margin
        sizes = [(i, len(prompt) + len(text)) for i, text in enumerate(texts) if text is not None]
        done = 0

        def check() -> None:
            if cancel is not None and cancel.is_set():
                raise CancelledError(f"cancelled after tokenizing {done} of {len(texts)} texts")

        for chunk in _chunks((item for item in sizes if item[1] <= limit), size=lambda i: i[1]):
            check()
            found = tokenize(self._tokenizer, [f"{prompt}{texts[index]}" for index, _ in chunk])
            for (index, _), ids in zip(chunk, found, strict=True):
                if isinstance(ids, TokenizerError):
                    yield index, ids
                else:
                    yield index, (ids[:room], len(ids) > room)
            done += len(chunk)
        for index, size in sizes:
            if size > limit:
                yield index, self._head(f"{prompt}{texts[index]}", room, limit, check)
                done += 1
                if progress is not None:
                    progress()

    def _head(
        self, text: str, room: int, limit: int, check: Callable[[], None]
    ) -> Head | TokenizerError:
        """The head of a long text; `check` is called before every piece of it."""
        most = max(PIECE, 4 * limit)

        def encode(piece: str) -> Any:
            check()
            with guarded():
                return self._tokenizer.encode(piece, add_special_tokens=False)

        if self._folds_spaces and len(text) > most:
            text = fold_spaces(text)
        try:
            return head_of_long(
                text, room, encode=encode, first=limit, most=most, margin=self._margin
            )
        except TokenizerError as failure:
            return failure


def _chunks(items: Iterable[Item], *, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """What the tokenizer takes at once: at most CHUNK texts, and PIECE characters."""
    held: list[Item] = []
    total = 0
    for item in items:
        if held and (len(held) == CHUNK or total + size(item) > PIECE):
            yield held
            held, total = [], 0
        held.append(item)
        total += size(item)
    if held:
        yield held


def _untaken(failure: TokenizerError) -> str:
    return f"the tokenizer cannot take this text ({failure}); leave it out"


def raising(max_length: int, most: int | None) -> str:
    """The advice to raise max_length, where it can be raised; it ends in ", "."""
    if most is None or max_length >= most:
        return ""
    return f"raise max_length= (up to {most}), "


def _items(indices: list[int]) -> str:
    shown = ", ".join(str(index) for index in indices[:10])
    more = f" and {len(indices) - 10} more" if len(indices) > 10 else ""
    return f"item {shown} is" if len(indices) == 1 else f"items {shown}{more} are"
