"""The settings beside tokenizer.json: transformers gives our ids, or the model is refused."""

import contextlib
import inspect
import json
import re
import shutil

import pytest
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers.models.auto.tokenization_auto import (
    MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS,
    TOKENIZER_MAPPING_NAMES,
    tokenizer_class_from_name,
)

import seeded
from embedge.errors import SourceError
from embedge.texts.tokens import TextTokenizer
from embedge_export.families.register import FAMILIES
from embedge_export.source.folder import open_source
from embedge_export.source.tokenizer import fields as tokenizer_fields
from embedge_export.source.tokenizer.classes import CLASSES, SAME

CONFIG = "tokenizer_config.json"
FILE = "tokenizer.json"
TEXTS = (
    "Hello World, it's 2024-05-06.",
    "Ångström CAFÉ naïve",
    "日本語のABC и кириллица",
    "a  b\tc\nd",
    "<|im_end|> in a text, [SEP] and <end> too",
    "banana",
    "ﬁne ①",
)
# Arguments of a class or a call, which a file cannot give or which are set after it is read.
NOT_SETTINGS = {"_commit_hash", "_from_auto", "_from_pipeline", "args", "kwargs", "self"}
CALLS = {"proxies", "subfolder", "config"}


@pytest.fixture(scope="module")
def written(sources):
    return {
        "llama": seeded.write_decoder(sources / "settings-llama", "llama"),
        "qwen3": seeded.write_decoder(sources / "settings-qwen3", "qwen3"),
        "bert": _bert(seeded.write_bert(sources / "settings-bert")),
        "modernbert": seeded.write_modernbert(sources / "settings-modernbert"),
        "mpnet": seeded.write_bert(sources / "settings-mpnet", "mpnet"),
        "xlm-roberta": _xlm_roberta(seeded.write_v3_native(sources / "settings-v3")),
    }


def _bert(folder):
    change(folder / CONFIG, tokenizer_class="BertTokenizer")
    return folder


def _xlm_roberta(folder):
    """Cut as SentencePiece does, all that its class keeps of a file."""
    tokenizer = Tokenizer.from_file(str(folder / FILE))
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.save(str(folder / FILE))
    change(folder / CONFIG, tokenizer_class="XLMRobertaTokenizer")
    return folder


def change(path, **fields):
    value = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(value | fields))


def ours(folder):
    tokenizer = TextTokenizer(folder / FILE)
    return [row.tolist() for row in tokenizer.encode(list(TEXTS), prompt="", max_length=512).ids]


def theirs(folder):
    return transformers.AutoTokenizer.from_pretrained(folder)(list(TEXTS))["input_ids"]


def test_every_argument_of_the_classes_is_in_the_table():
    """A newer transformers that reads another field fails here: put it into the table."""
    classes = [transformers.PreTrainedTokenizerBase, transformers.PreTrainedTokenizerFast]
    classes += [getattr(transformers, name) for name in CLASSES]
    found = set()
    for kind in classes:
        found |= set(inspect.signature(kind.__init__).parameters)
        found |= set(
            re.findall(r'kwargs\.(?:pop|get)\(\s*"(\w+)"', inspect.getsource(kind.__init__))
        )
    source = inspect.getsource(transformers.PreTrainedTokenizerBase.from_pretrained)
    found |= set(re.findall(r'"(\w+)" in tokenizer_config', source))
    source = inspect.getsource(transformers.PreTrainedTokenizerBase._from_pretrained)
    found |= set(re.findall(r'init_kwargs\.(?:pop|get)\(\s*"(\w+)"', source))
    found |= set(transformers.PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES)
    unknown = found - set(tokenizer_fields.CONFIG_FIELDS) - NOT_SETTINGS - CALLS
    assert "fast_tokenizer_files" in found
    assert unknown - {"tokenizer"} == set()
    assert set(tokenizer_fields.NAMED_TOKENS) == set(
        transformers.PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES
    )


def test_the_classes_of_the_model_types():
    for model_type, family in FAMILIES.items():
        name = TOKENIZER_MAPPING_NAMES.get(model_type)
        assert (name and name.removesuffix("Fast")) == family.tokenizer, model_type
        fixed = model_type in MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
        assert fixed == family.tokenizer_is_fixed, model_type


def test_other_names_of_the_classes():
    for name, same in SAME.items():
        assert issubclass(tokenizer_class_from_name(name), getattr(transformers, same)), name


@pytest.mark.parametrize(
    ("kind", "fields", "refused"),
    [
        ("llama", {}, False),
        ("llama", {"tokenizer_class": "LlamaTokenizerFast"}, False),
        ("llama", {"tokenizer_class": "PreTrainedTokenizer"}, False),
        ("llama", {"tokenizer_class": "NoSuchTokenizer"}, False),
        ("llama", {"tokenizer_class": "BertTokenizer"}, True),
        ("llama", {"add_bos_token": True, "bos_token": "<|im_start|>"}, False),
        ("llama", {"add_eos_token": True}, False),
        ("llama", {"add_prefix_space": True}, False),
        ("llama", {"do_lower_case": True}, False),
        ("llama", {"eos_token": "<end>"}, True),
        ("llama", {"some_token": "<end>"}, True),
        ("llama", {"additional_special_tokens": ["<end>"]}, True),
        ("llama", {"extra_special_tokens": {"own": "<end>"}}, True),
        ("llama", {"split_special_tokens": True}, True),
        ("llama", {"padding_side": "left", "legacy": True, "trim_offsets": True}, False),
        ("qwen3", {}, False),
        ("qwen3", {"tokenizer_class": "PreTrainedTokenizerFast"}, False),
        ("qwen3", {"tokenizer_class": None}, False),
        ("qwen3", {"add_prefix_space": True}, True),
        ("qwen3", {"add_eos_token": False}, False),
        ("bert", {}, False),
        ("bert", {"do_lower_case": False}, True),
        ("bert", {"do_lower_case": False, "tokenizer_class": "PreTrainedTokenizerFast"}, False),
        ("bert", {"strip_accents": False}, True),
        ("bert", {"strip_accents": True}, False),
        ("bert", {"tokenize_chinese_chars": False}, True),
        ("bert", {"tokenizer_class": None}, False),
        ("modernbert", {}, False),
        ("modernbert", {"tokenizer_class": None}, False),
        ("modernbert", {"tokenizer_class": "GPT2TokenizerFast"}, False),
        ("modernbert", {"tokenizer_class": "BertTokenizer"}, False),
        ("modernbert", {"eos_token": "<end>"}, True),
        ("mpnet", {"tokenizer_class": None}, False),
        ("mpnet", {"tokenizer_class": "MPNetTokenizer"}, False),
        ("mpnet", {"tokenizer_class": "MPNetTokenizer", "do_lower_case": False}, True),
        ("mpnet", {"tokenizer_class": "MPNetTokenizerFast", "strip_accents": False}, True),
        ("xlm-roberta", {}, False),
        ("xlm-roberta", {"tokenizer_class": None}, False),
        ("xlm-roberta", {"add_prefix_space": False}, True),
    ],
)
def test_settings(written, tmp_path, kind, fields, refused):
    folder = shutil.copytree(written[kind], tmp_path / kind)
    change(folder / CONFIG, **fields)
    if not refused:
        open_source(folder)
        assert ours(folder) == theirs(folder)
        return
    with pytest.raises(SourceError):
        open_source(folder)
    mine, other = ours(folder), None
    with contextlib.suppress(Exception):  # transformers may fail to make this class of the file
        other = theirs(folder)
    assert mine != other  # so it was refused with reason


@pytest.mark.parametrize(
    ("kind", "part", "value"),
    [
        ("qwen3", "normalizer", {"type": "Lowercase"}),
        ("qwen3", "normalizer", None),
        ("bert", "normalizer", {"type": "NFC"}),
        ("bert", "pre_tokenizer", {"type": "WhitespaceSplit"}),
        ("bert", "post_processor", None),
        ("xlm-roberta", "pre_tokenizer", {"type": "Metaspace", "replacement": "▁", "split": True}),
        ("xlm-roberta", "normalizer", {"type": "NFKC"}),
    ],
)
def test_parts_that_a_class_builds_itself(written, tmp_path, kind, part, value):
    folder = shutil.copytree(written[kind], tmp_path / kind)
    if isinstance(value, dict) and value["type"] == "Metaspace":
        value = {**value, "prepend_scheme": "always"}
    change(folder / FILE, **{part: value})
    try:
        open_source(folder)
    except SourceError:
        return
    assert ours(folder) == theirs(folder)


def test_gpt2_s_class_forgets_the_digits(tmp_path):
    """As of SmolLM2: what transformers 4 and the file cut, its class of 5 does not."""
    folder = seeded.write_decoder(tmp_path / "llama", "llama")
    file = json.loads((folder / FILE).read_text())
    vocabulary = file["model"]["vocab"]
    merges = [
        pair if isinstance(pair, list) else pair.split(" ") for pair in file["model"]["merges"]
    ]
    vocabulary["12"] = vocabulary.pop(next(reversed(vocabulary)))
    merges = [pair for pair in merges if "".join(pair) in vocabulary] + [["1", "2"]]
    file["model"] |= {"vocab": vocabulary, "merges": merges}
    file["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": True,
            },
        ],
    }
    (folder / FILE).write_text(json.dumps(file | {"normalizer": None}))
    change(folder / CONFIG, tokenizer_class="GPT2Tokenizer")
    with pytest.raises(SourceError, match="its class is GPT2Tokenizer, which builds its own"):
        open_source(folder)
    mine = Tokenizer.from_file(str(folder / FILE)).encode("12").ids
    assert transformers.AutoTokenizer.from_pretrained(folder)("12")["input_ids"] != mine
    change(folder / CONFIG, tokenizer_class="PreTrainedTokenizerFast")
    open_source(folder)
    assert transformers.AutoTokenizer.from_pretrained(folder)("12")["input_ids"] == mine
    assert isinstance(Tokenizer.from_file(str(folder / FILE)).model, models.BPE)
