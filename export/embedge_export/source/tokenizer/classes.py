"""What transformers makes of a tokenizer.json: some of its classes build parts of it themselves.

A class such as BertTokenizer takes the vocabulary from the file, and normalizer, cut into words and
special tokens from its own code and the settings in tokenizer_config.json. Here the same parts are
built and tried on texts: where they give other ids than the file, the model is refused, for the
runtime reads the file. Knows the classes of the families that can be exported, as of the newer of
`tokenizer_fields.VERSIONS`; the tests compare it with transformers.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors

from embedge.errors import SourceError
from embedge.texts.tokenizer_library import TokenizerError, guarded
from embedge_export.corpus.texts import CALIBRATION_TEXTS, LONG_TEXTS, SHORT_TEXTS
from embedge_export.families.family import Family
from embedge_export.reading.fields import shown
from embedge_export.source.files import TOKENIZER as FILE
from embedge_export.source.files import TOKENIZER_CONFIG as CONFIG
from embedge_export.source.tokenizer.parts import RESAVE
from embedge_export.source.tokenizer.settings import TokenizerFiles
from embedge_export.source.tokenizer.versions import notes_on_ends, notes_on_prefix_space

# Other names of a class.
SAME: Mapping[str, str] = {
    "ConvBertTokenizer": "BertTokenizer",
    "DistilBertTokenizer": "BertTokenizer",
    "ElectraTokenizer": "BertTokenizer",
    "MobileBertTokenizer": "BertTokenizer",
    "SqueezeBertTokenizer": "BertTokenizer",
    "BartTokenizer": "RobertaTokenizer",
    "LongformerTokenizer": "RobertaTokenizer",
}
# They take tokenizer.json as it is.
FROM_FILE = ("TokenizersBackend", "PythonBackend", "PreTrainedTokenizer", "PreTrainedTokenizerFast")

_PARTS = ("normalizer", "pre_tokenizer", "post_processor")
_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
# White space at the ends is left out: there the forms of one class differ from version to version.
_PROBES = [text.strip() for text in (*SHORT_TEXTS, *LONG_TEXTS, *CALIBRATION_TEXTS)]
_PROBES += ["Ångström CAFÉ naïve", "日本語のABC", "a  b\tc\nd", "İstanbul ﬁne ①"]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that a class builds; what it takes from the file is not listed."""

    normalizer: Any
    pre_tokenizer: Any
    post_processor: Any = ...  # of the file
    fields: str = ""  # those of tokenizer_config.json that it goes by


@dataclass(frozen=True, slots=True)
class Built:
    """How a class builds its tokenizer."""

    algorithm: str
    model: Mapping[str, tuple[Any, ...]]  # fields of the file's "model": what they must be
    parts: Callable[[TokenizerFiles], Parts]


def class_name(config: Mapping[str, Any], files: TokenizerFiles, family: Family[Any]) -> str:
    """The class that `AutoTokenizer` takes, without "Fast" at its end."""
    named = files.config.values.get("tokenizer_class") or config.get("tokenizer_class")
    if named is not None and not isinstance(named, str):
        raise files.config.error("tokenizer_class", "it must be a name")
    if named is None:
        return family.tokenizer or FROM_FILE[0]
    if family.tokenizer is not None and family.tokenizer_is_fixed:
        return family.tokenizer
    if named in FROM_FILE:
        return FROM_FILE[0]
    name = named.removesuffix("Fast")
    if name == "LlamaTokenizer" and _byte_level(files.file):
        return FROM_FILE[0]
    return SAME.get(name, name)


def check_class(config: Mapping[str, Any], files: TokenizerFiles, family: Family[Any]) -> list[str]:
    """Refuses a model whose class would give other ids than tokenizer.json.

    Returns:
        Notes for the user.

    Raises:
        SourceError: it names what differs.
    """
    name = class_name(config, files, family)
    notes = notes_on_ends(name, files)
    if name in FROM_FILE:
        return [*notes, *notes_on_prefix_space(files)]
    built = CLASSES.get(name)
    if built is None:
        return [
            *notes,
            f"{CONFIG} names the class {name}; what it builds by itself is not known here, and the "
            f"pack follows {FILE}",
        ]
    remedy = f"{RESAVE} to have its ids"
    if not family.tokenizer_is_fixed:
        remedy += f', or set "tokenizer_class" to "PreTrainedTokenizerFast" to follow {FILE}'
    where = f"{files.folder / CONFIG}: its class is {name}"
    if files.model.get("type") not in (None, built.algorithm):
        raise SourceError(f"{where}, and {FILE} holds a {files.model.get('type')}; {remedy}")
    for field, allowed in built.model.items():
        if field in files.model and files.model[field] not in allowed:
            raise SourceError(
                f"{where}, which has {shown(allowed[0])} for model.{field}, and {FILE} has "
                f"{shown(files.model[field])}; {remedy}"
            )
    decoder = files.config.get("added_tokens_decoder")
    for number, token in files.tokenizer.get_added_tokens_decoder().items():
        if decoder is not None and str(number) not in decoder:
            raise SourceError(
                f"{where}, which adds the tokens of added_tokens_decoder alone, and it lacks "
                f"{shown(token.content)} of {FILE}; {remedy}"
            )
    _compare(files, built.parts(files), where, remedy)
    return notes


def _compare(files: TokenizerFiles, parts: Parts, where: str, remedy: str) -> None:
    """Encodes texts by the file alone, and with each part of the class in the file's place."""
    built = {name: getattr(parts, name) for name in _PARTS if getattr(parts, name) is not ...}
    expected = _ids(files.tokenizer)
    if _ids(_with(files, built)) == expected:
        return
    alone = [part for part, value in built.items() if _ids(_with(files, {part: value})) != expected]
    by = f" by {parts.fields}" if parts.fields and alone != ["post_processor"] else ""
    raise SourceError(
        f"{where}, which builds its own {' and '.join(alone or built)}{by} and gives other ids "
        f"than {FILE}; {remedy}"
    )


def _with(files: TokenizerFiles, parts: Mapping[str, Any]) -> Tokenizer:
    """The file's tokenizer with other parts."""
    tokenizer = Tokenizer.from_file(str(files.folder / FILE))
    for part, value in parts.items():
        setattr(tokenizer, part, value)
    return tokenizer


def _ids(tokenizer: Tokenizer) -> list[list[int]]:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    try:
        with guarded():
            return [encoding.ids for encoding in tokenizer.encode_batch_fast(_PROBES)]
    except TokenizerError:  # parts that do not go together: no ids, which are others too
        return []


def _byte_level(file: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json works on bytes, in its cut or when decoding."""
    parts = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    return any("'ByteLevel'" in repr(file.get(part)) for part in parts)


def _flag(files: TokenizerFiles, field: str, default: bool | None) -> bool | None:
    """A setting that is true or false, or left out."""
    value = files.config.values.get(field, default)
    if value is not None and not isinstance(value, bool):
        raise files.config.error(field, "it must be true or false")
    return value


def _around(files: TokenizerFiles, first: str, last: str) -> Any:
    """A post-processor that puts a token before and after a text."""
    pairs = [(token, files.tokenizer.token_to_id(token)) for token in (first, last)]
    if any(number is None for _, number in pairs):
        return ...  # it has no such token, so nothing was trained with it
    return processors.TemplateProcessing(
        single=[first, "$A", last], pair=[first, "$A", last, "$B", last], special_tokens=pairs
    )


def _bert(files: TokenizerFiles) -> Parts:
    lower = _flag(files, "do_lower_case", True)
    chinese = _flag(files, "tokenize_chinese_chars", True)
    return Parts(
        normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=bool(chinese),
            strip_accents=_flag(files, "strip_accents", None),
            lowercase=bool(lower),
        ),
        pre_tokenizers.BertPreTokenizer(),
        _around(files, files.token("cls_token") or "[CLS]", files.token("sep_token") or "[SEP]"),
        "do_lower_case, strip_accents and tokenize_chinese_chars",
    )


def _mpnet(files: TokenizerFiles) -> Parts:
    """BERT's parts with RoBERTa's tokens around a text."""
    around = _around(files, files.token("cls_token") or "<s>", files.token("sep_token") or "</s>")
    return replace(_bert(files), post_processor=around)


def _roberta(files: TokenizerFiles) -> Parts:
    space = bool(_flag(files, "add_prefix_space", False))
    return Parts(
        None,
        pre_tokenizers.ByteLevel(add_prefix_space=space),
        _around(files, files.token("cls_token") or "<s>", files.token("sep_token") or "</s>"),
        "add_prefix_space",
    )


def _xlm_roberta(files: TokenizerFiles) -> Parts:
    scheme = "always" if _flag(files, "add_prefix_space", True) else "never"
    return Parts(
        _charsmap(files.file.get("normalizer")),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme),
            ]
        ),
        _around(files, files.token("bos_token") or "<s>", files.token("eos_token") or "</s>"),
        "add_prefix_space",
    )


def _qwen2(files: TokenizerFiles) -> Parts:
    space = bool(_flag(files, "add_prefix_space", False))
    return Parts(
        normalizers.NFC(),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_QWEN_WORDS), behavior="isolated", invert=False),
                pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=False),
            ]
        ),
        fields="add_prefix_space",
    )


def _gpt2(files: TokenizerFiles) -> Parts:
    space = bool(_flag(files, "add_prefix_space", False))
    return Parts(None, pre_tokenizers.ByteLevel(add_prefix_space=space), fields="add_prefix_space")


def _llama(files: TokenizerFiles) -> Parts:
    scheme = "always" if _flag(files, "legacy", False) else "first"
    if not _flag(files, "add_prefix_space", True):
        scheme = "never"
    cut = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    return Parts(None, cut, fields="add_prefix_space and legacy")


def _charsmap(normalizer: Any) -> Any:
    """The SentencePiece table of a normalizer, all that XLM-RoBERTa's class keeps of it."""
    if not isinstance(normalizer, dict):
        return None
    if isinstance(normalizer.get("normalizers"), list):
        return next(filter(None, map(_charsmap, normalizer["normalizers"])), None)
    table = normalizer.get("precompiled_charsmap")
    if normalizer.get("type") != "Precompiled" or not isinstance(table, str):
        return None
    return normalizers.Precompiled(base64.b64decode(table))


_BYTES: Mapping[str, tuple[Any, ...]] = {
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "fuse_unk": (False, None),
    "byte_fallback": (False, None),
    "ignore_merges": (False, None),
}
_LLAMA = {**_BYTES, "fuse_unk": (True,), "byte_fallback": (True,)}
_PIECES: Mapping[str, tuple[Any, ...]] = {
    "continuing_subword_prefix": ("##",),
    "max_input_chars_per_word": (100,),
}
CLASSES: Mapping[str, Built] = {
    "BertTokenizer": Built("WordPiece", _PIECES, _bert),
    "MPNetTokenizer": Built("WordPiece", _PIECES, _mpnet),
    "RobertaTokenizer": Built("BPE", _BYTES, _roberta),
    "XLMRobertaTokenizer": Built(
        "Unigram", {"unk_id": (3,), "byte_fallback": (False, None)}, _xlm_roberta
    ),
    "Qwen2Tokenizer": Built("BPE", _BYTES, _qwen2),
    "GPT2Tokenizer": Built("BPE", _BYTES, _gpt2),
    "LlamaTokenizer": Built("BPE", _LLAMA, _llama),
}
