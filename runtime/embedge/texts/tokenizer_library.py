"""The one door to the `tokenizers` library: every call goes through `guarded`.

The library is written in Rust. Much of what goes wrong in it is a bare `Exception`, or a panic,
which reaches Python as a `BaseException` that `except Exception` misses. Here both become one
`TokenizerError`. Gives tokenizers that neither cut nor pad. Knows no texts and no networks.

A panic also writes lines to stderr, by Rust's own hook, before Python hears of it. Callers
therefore avoid the inputs that are known to cause one (see `long`); what remains are files
that are damaged in a way which shows only while a text is encoded.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from embedge.errors import PackFileError
from embedge.reasons import reason_of
from embedge.texts.growth import find_growth
from embedge.texts.long import KEPT_SPACES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What is not the library's own failure.
_PASSED_ON = (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError)


class TokenizerError(Exception):
    """The library failed; the text says how."""


class Piece(NamedTuple):
    """A token of a text, and where it stands there."""

    id: int
    text: str  # the characters that it covers; a special token's name
    special: bool  # put there by the tokenizer
    start: int  # characters from the text's start; `stop` is after the last
    stop: int


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Turns every failure of the library within the block into a `TokenizerError`."""
    try:
        yield
    except _PASSED_ON:
        raise
    except BaseException as error:
        raise TokenizerError(reason_of(error)) from None


def read_tokenizer(path: Path) -> "Tokenizer":
    """The tokenizer of a file, without the truncation and padding that the file may ask for.

    Raises:
        TokenizerError: the file cannot be read, is not a tokenizer, or makes texts grow without
            reason.
    """
    from tokenizers import Tokenizer

    with guarded():
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        growth = find_growth(tokenizer)
    if growth is not None:
        raise TokenizerError(f"its {growth}")
    return tokenizer


def tokenize(tokenizer: "Tokenizer", texts: list[str]) -> list[list[int] | TokenizerError]:
    """Ids of every text without special tokens, or why there are none.

    A text that the library fails at does not cost the others: they are then encoded one by one.
    """
    try:
        with guarded():
            encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    except TokenizerError as error:
        if len(texts) == 1:
            return [error]
        return [ids for text in texts for ids in tokenize(tokenizer, [text])]
    return [encoding.ids for encoding in encodings]


def pieces(tokenizer: "Tokenizer", text: str, *, special: bool) -> list[Piece]:
    """The tokens of a text one by one, with the special ones if they are asked for."""
    with guarded():
        found = tokenizer.encode(text, add_special_tokens=special)
        rows = zip(found.ids, found.tokens, found.special_tokens_mask, found.offsets, strict=True)
    return [
        Piece(id_, name if mask else text[start:stop], bool(mask), start, stop)
        for id_, name, mask, (start, stop) in rows
    ]


def decode(tokenizer: "Tokenizer", ids: Sequence[int], *, skip_special: bool) -> str:
    """The text of token ids."""
    with guarded():
        return str(tokenizer.decode(ids, skip_special_tokens=skip_special))


def special_tokens(
    tokenizer: "Tokenizer", path: Path, vocabulary: Mapping[str, int]
) -> tuple[list[int], list[int]]:
    """What the post-processor puts before and after a text, found by asking it.

    Raises:
        TokenizerError: the library fails at every text, or at its post-processor.
    """
    failure: TokenizerError | None = None
    for probe in ("a", *sorted(vocabulary, key=len)[:1]):
        try:
            with guarded():
                bare = tokenizer.encode(probe, add_special_tokens=False).ids
        except TokenizerError as error:
            failure = error
            continue
        if not bare:
            continue
        with guarded():
            full = tokenizer.encode(probe, add_special_tokens=True)
        mask = full.special_tokens_mask
        first = mask.index(0) if 0 in mask else len(mask)
        prefix, suffix = full.ids[:first], full.ids[first + len(bare) :]
        if [*prefix, *bare, *suffix] == full.ids:
            return prefix, suffix
        raise PackFileError(
            f"{path}: its post-processor does more than put tokens before and after a text, "
            "which this version does not do"
        )
    raise failure or PackFileError(f"{path}: this tokenizer gives no token for any text")


def folds_spaces(tokenizer: "Tokenizer") -> bool:
    """Whether any number of spaces is as one to the tokenizer, and none at a text's ends."""
    many = " \t\r\n" * (KEPT_SPACES // 2)
    try:
        with guarded():
            one, run, ends = (
                tokenizer.encode(probe, add_special_tokens=False).ids
                for probe in ("a a", f"a{many}a", f"{many}a a{many}")
            )
    except TokenizerError:
        return False
    return bool(one == run == ends)
