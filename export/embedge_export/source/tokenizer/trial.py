"""A source's tokenizer is tried before any work: files that would fail at some texts are refused.

Takes tokenizer.json, gives the tokenizer. What would make the library panic is looked for in the
file first, because a panic writes lines to stderr before Python can catch it.
"""

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from embedge.errors import PackFileError, SourceError
from embedge.texts.tokenizer_library import TokenizerError, read_tokenizer, tokenize
from embedge.texts.tokens import TextTokenizer
from embedge_export.reading.files import read_json_file

REMEDY = "Download it again, or save it with a newer transformers"

# One character of every hundred that there are: known and unknown ones of all scripts, marks,
# ligatures, wide forms, private use.
_CHARACTERS = "".join(chr(code) for code in range(1, 0x20000, 97) if not 0xD800 <= code < 0xE000)
TRIAL = (
    "How fast does light travel in a vacuum? It's 299,792,458 metres every second.",
    "Straße, Übermaß, naïve — e\u0301 ﬁ ½ ١٢٣; 光速は毎秒約三十万キロ。 🙂👩‍👩‍👧",
    "def main():\n\treturn  {'a': 1}\r\n\n\n   \u200b\u00a0",
    "\ue000\U000f0000",  # private use: in no vocabulary
    "a" * 200 + "b",  # longer than the words that WordPiece takes
    " " * 2000 + "1" * 2000,
    _CHARACTERS,
    " ".join(_CHARACTERS),
)


def try_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a file, once it has taken every text of TRIAL.

    Raises:
        SourceError: the file is not a tokenizer, or it fails at a text.
    """
    try:
        root = read_json_file(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not JSON: {error}. {REMEDY}") from error
    for problem in _problems(root):
        raise SourceError(f"{path}: {problem}. {REMEDY}")
    try:
        tokenizer = read_tokenizer(path)
    except TokenizerError as error:
        raise SourceError(
            f"{path} is not a tokenizer that `tokenizers` can read: {error}. {REMEDY}"
        ) from None
    for text, ids in zip(TRIAL, tokenize(tokenizer, list(TRIAL)), strict=True):
        if isinstance(ids, TokenizerError):
            raise SourceError(
                f"{path} fails at texts such as {text[:20]!r}: {ids}. A token for unknown words "
                f"that its vocabulary lacks is a common cause. {REMEDY}"
            )
    try:
        TextTokenizer(path)  # as the runtime will open it
    except PackFileError as error:
        raise SourceError(f"{error}. {REMEDY}") from None
    return tokenizer


def _problems(root: Any) -> Iterator[str]:
    """What is known to make the library panic; other shapes are for the library to refuse."""
    if not isinstance(root, dict):
        yield "it is not a JSON object"
        return
    yield from _merge_problems(root.get("model"))
    for part in _parts(root.get("post_processor"), "processors"):
        if part.get("type") == "TemplateProcessing":
            yield from _template_problems(part)
    for part in _parts(root.get("normalizer"), "normalizers"):
        if part.get("type") == "Precompiled":
            yield from _charsmap_problems(part.get("precompiled_charsmap"))


def _parts(value: Any, key: str) -> Iterator[Mapping[str, Any]]:
    """A component, and those that it is a sequence of."""
    if isinstance(value, dict):
        yield value
        inner = value.get(key)
        for part in inner if isinstance(inner, list) else ():
            yield from _parts(part, key)


def _merge_problems(model: Any) -> Iterator[str]:
    """Every merge of BPE makes a token of the vocabulary from two others."""
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        return
    vocabulary, merges = model["vocab"], model.get("merges")
    prefix = len((model.get("continuing_subword_prefix") or "").encode())
    for merge in merges if isinstance(merges, list) else ():
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or not all(isinstance(part, str) for part in pair):
            return  # the library says what is wrong
        if len(pair) == 2:
            if len(pair[1].encode()) < prefix:
                yield f"the merge {' '.join(pair)!r} lacks the prefix that its parts continue with"
            made = pair[0] + pair[1].encode()[prefix:].decode(errors="replace")
            for token in (*pair, made):
                if token not in vocabulary:
                    yield f"the merge {' '.join(pair)!r} needs {token!r}, which is no token of it"


def _template_problems(part: Mapping[str, Any]) -> Iterator[str]:
    known = part.get("special_tokens")
    for name in ("single", "pair"):
        pieces = part.get(name)
        for piece in pieces if isinstance(pieces, list) else ():
            special = piece.get("SpecialToken") if isinstance(piece, dict) else None
            token = special.get("id") if isinstance(special, dict) else None
            if isinstance(token, str) and isinstance(known, dict) and token not in known:
                yield f"its post-processor's template uses {token!r}, which it does not define"


def _charsmap_problems(charsmap: Any) -> Iterator[str]:
    """The map is a trie, after its size in bytes, and the texts that it points to."""
    try:
        data = base64.b64decode(charsmap, validate=True)
    except (TypeError, ValueError) as error:
        yield f"its precompiled_charsmap is damaged: {error}"
        return
    size = int.from_bytes(data[:4], "little")
    if len(data) < 8 or size % 4 or not 4 <= size <= len(data) - 4:
        yield f"its precompiled_charsmap is damaged: {len(data)} bytes, a trie of {size}"
        return
    try:
        data[4 + size :].decode()
    except UnicodeDecodeError as error:
        yield f"its precompiled_charsmap is damaged: {error}"
