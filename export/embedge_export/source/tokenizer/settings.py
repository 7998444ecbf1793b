"""The settings beside tokenizer.json, held against it: the runtime reads tokenizer.json alone.

transformers builds its tokenizers from several files. Takes a model folder and the parsed
config.json; gives the id that fills short rows, and notes for the user. Whatever would give a text
other ids than tokenizer.json does is refused, by file and field; the tables are in
`fields.py`. Knows nothing of weights.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from embedge.errors import SourceError
from embedge.texts.tokenizer_library import TokenizerError, guarded
from embedge_export.families.family import Family
from embedge_export.reading.fields import Settings, is_whole, shown
from embedge_export.reading.json_files import read_json
from embedge_export.source.files import ADDED_TOKENS, PROMPTS, SPECIAL_TOKENS
from embedge_export.source.files import TOKENIZER as FILE
from embedge_export.source.files import TOKENIZER_CONFIG as CONFIG
from embedge_export.source.tokenizer import fields as tables
from embedge_export.source.tokenizer.parts import RESAVE, check_parts, lowercases
from embedge_export.source.tokenizer.trial import try_tokenizer

_FLAGS = ("lstrip", "rstrip", "normalized", "single_word", "special")


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """A model's tokenizer with the settings beside it.

    Attributes:
        folder: where they stand.
        tokenizer: tokenizer.json, read by the library.
        file: tokenizer.json as it is written.
        config: tokenizer_config.json.
        named: tokens with a name as (file, content), by name: "pad_token", say.
    """

    folder: Path
    tokenizer: Tokenizer
    file: Mapping[str, Any]
    config: Settings
    named: Mapping[str, tuple[Path, str]]

    @property
    def model(self) -> Mapping[str, Any]:
        """The algorithm's part of tokenizer.json."""
        model = self.file.get("model")
        return model if isinstance(model, dict) else {}

    def token(self, name: str, default: str | None = None) -> str | None:
        """The text of a token with a name."""
        return self.named[name][1] if name in self.named else default


def open_tokenizer_files(folder: Path, *, bare: bool = False) -> TokenizerFiles:
    """Reads a tokenizer's files and compares them.

    Args:
        folder: where they stand.
        bare: whether tokenizer.json alone is read, by the network's own library too.

    Raises:
        SourceError: a file is damaged, or transformers would give other ids than tokenizer.json.
    """
    path = folder / FILE
    file = read_json(path)
    beside = {} if bare else read_json(folder / CONFIG)
    config = Settings(beside, tables.CONFIG_FIELDS, file=str(folder / CONFIG))
    check_parts(path, file, cuts=config.get("truncation_side") is None)
    tokenizer = try_tokenizer(path)
    auto_map = config.values.get("auto_map")
    if isinstance(auto_map, list) or (isinstance(auto_map, dict) and auto_map.get("AutoTokenizer")):
        raise config.error(
            "auto_map",
            "a tokenizer in code of its own, which is never run. Remove it if transformers' own "
            "class gives the same ids",
        )
    added = {entry["content"]: entry for entry in _added_tokens(tokenizer)}
    decoder = config.get("added_tokens_decoder")
    # Newer versions keep all about tokens in one file, and then read no other.
    special = {} if bare or decoder is not None else read_json(folder / SPECIAL_TOKENS)
    named: dict[str, tuple[Path, str]] = {}
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    for source, values in ((folder / CONFIG, config.values), (folder / SPECIAL_TOKENS, special)):
        for name, content in _tokens(source, values):
            _check_added(source, name, content, added, vocabulary)
            if name in tables.NAMED_TOKENS:
                named[name] = (source, content)
    if decoder is not None:
        _compare_decoder(folder / CONFIG, config, decoder, added)
    elif not bare:
        for content, number in read_json(folder / ADDED_TOKENS).items():
            if added.get(content, {}).get("id") != number:
                raise SourceError(
                    f"{folder / ADDED_TOKENS}: {shown(content)} has the id {shown(number)}, and "
                    f"not so in {FILE}; {RESAVE}"
                )
    return TokenizerFiles(folder, tokenizer, file, config, named)


def check_lower_case(files: TokenizerFiles, asked: Path | None) -> None:
    """Refuses texts in lower case where the tokenizer does not make them so.

    Args:
        files: of the model.
        asked: the file whose "do_lower_case" is true, if there is one.
    """
    if asked is not None and not lowercases(files.file.get("normalizer")):
        raise SourceError(
            f"{asked}: do_lower_case is True, and the normalizer of {FILE} does not make texts "
            'lower case. Put {"type": "Lowercase"} before it, or set the field to false'
        )


def check_types(files: TokenizerFiles, family: Family[Any]) -> None:
    """Refuses token types other than 0, which encoders add to every token's vector.

    A graph has the row of type 0 in it; a text alone has no other, unless a template says so.
    """
    inputs = files.config.get("model_input_names")
    if isinstance(inputs, list) and "token_type_ids" not in inputs:
        return
    if family.adds_token_types and any(files.tokenizer.encode("a").type_ids):
        raise SourceError(
            f"{files.folder / FILE}: its post_processor gives tokens of a single text another type "
            "than 0, which is not supported; exporting without it would give wrong vectors"
        )


def check_prompts(files: TokenizerFiles, prompts: Mapping[str, str], max_length: int) -> None:
    """Refuses a prompt that leaves no room for a text."""
    special = files.tokenizer.num_special_tokens_to_add(is_pair=False)
    for name, prompt in prompts.items():
        try:
            with guarded():
                tokens = len(files.tokenizer.encode(prompt, add_special_tokens=False).ids)
        except TokenizerError as error:
            raise SourceError(
                f"{files.folder / FILE} fails at the prompt {shown(name)}: {error}; {RESAVE}"
            ) from None
        if tokens + special >= max_length:
            raise SourceError(
                f"{files.folder}: the prompt {shown(name)} takes {tokens} tokens, and special "
                f"tokens {special}, of the {max_length} that a text may have; shorten it in "
                f"{PROMPTS}, or correct the length limit"
            )


def pad_token_id(files: TokenizerFiles, config: Mapping[str, Any]) -> int:
    """The id that fills short rows.

    The tokenizer's word goes before the config's: v5-text-nano's config says 128001, which is also
    its closing token, while its tokenizer pads with 128004. The attention mask hides either, but a
    graph without one (and a reader of the ids) should see what the model's own code would give.
    """
    token = files.token("pad_token")
    padding = files.file.get("padding")
    if token is None and isinstance(padding, dict) and isinstance(padding.get("pad_token"), str):
        token = padding["pad_token"]
    if token is not None and (found := files.tokenizer.token_to_id(token)) is not None:
        return int(found)
    for field in ("pad_token_id", "eos_token_id"):
        value: Any = config.get(field)
        if isinstance(value, list) and value:
            value = value[0]
        if value is None or value == -1:  # how some say "none"
            continue
        if not is_whole(value) or not 0 <= value < 2**31:
            raise SourceError(
                f"{files.folder / 'config.json'}: {field} is {shown(config.get(field))}, not the "
                "id of a token; correct it"
            )
        return int(value)
    return 0


def _added_tokens(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """The added tokens with their ids."""
    return [
        {"id": number, "content": token.content} | {name: getattr(token, name) for name in _FLAGS}
        for number, token in tokenizer.get_added_tokens_decoder().items()
    ]


def _tokens(path: Path, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every token that a settings file names, as (field, content)."""
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if name in tables.TOKEN_LISTS:
            items = list(value.items()) if isinstance(value, dict) else value
            if items is not None and not isinstance(items, list):
                raise SourceError(f"{path}: {name} is {shown(value)}, not a list of tokens")
            pairs = [item if isinstance(value, dict) else (name, item) for item in items or ()]
        elif name in tables.NAMED_TOKENS or (
            name.endswith("_token")
            and isinstance(value, str | dict)
            and name not in tables.CONFIG_FIELDS
        ):
            pairs = [(name, value)]
        else:
            continue
        for label, item in pairs:
            content = item.get("content") if isinstance(item, dict) else item
            if item is not None and not isinstance(content, str):
                raise SourceError(f"{path}: {label} is {shown(item)}, not a token; correct it")
            if content:
                found.append((label, content))
    return found


def _check_added(
    path: Path,
    name: str,
    content: str,
    added: Mapping[str, Any],
    vocabulary: Mapping[str, int],
) -> None:
    """Refuses a token that transformers would add, and would cut texts at."""
    if content in added:
        return
    if content in vocabulary:
        what = f"which {FILE} has as an ordinary piece, not among its added tokens"
    else:
        what = f"which {FILE} does not have"
    raise SourceError(
        f"{path}: {name} is {shown(content)}, {what}. transformers would add it and cut texts at "
        f"it; {RESAVE}, or remove the field"
    )


def _compare_decoder(
    path: Path, config: Settings, decoder: Any, added: Mapping[str, dict[str, Any]]
) -> None:
    """The added tokens as tokenizer_config.json lists them."""
    if not isinstance(decoder, dict):
        raise config.error("added_tokens_decoder", "it must be an object of tokens by their ids")
    for key, token in decoder.items():
        content = token.get("content") if isinstance(token, dict) else None
        if not isinstance(content, str) or re.fullmatch(r"[0-9]{1,10}", key) is None:
            raise SourceError(
                f"{path}: added_tokens_decoder has {shown(key)}: {shown(token)}, which is "
                f"not a token with its id; {RESAVE}"
            )
        mine = added.get(content)
        if mine is None or mine["id"] != int(key):
            raise SourceError(
                f"{path}: added_tokens_decoder gives {shown(content)} the id {shown(key)}, "
                f"and {FILE} {'none' if mine is None else mine['id']}; {RESAVE}"
            )
        for flag in _FLAGS:
            if token.get(flag, False) is not mine[flag]:
                raise SourceError(
                    f"{path}: added_tokens_decoder: {flag} of {shown(content)} is "
                    f"{shown(token.get(flag))}, and {shown(mine[flag])} in {FILE}; {RESAVE}"
                )
