"""Odd values in a model's settings files: taken as meant, or one sentence with the file."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import seeded
from embedge.errors import EmbedgeError
from embedge_export.source import sentence_fields
from embedge_export.source.folder import open_source
from embedge_export.source.tokenizer import fields as tokenizer_fields
from support.heads import LAYER_NORM, NORMALIZE, dense, write_head

TABLES: dict[str, Mapping[str, object]] = {
    "config_sentence_transformers.json": sentence_fields.MODEL_FIELDS,
    "sentence_bert_config.json": sentence_fields.NETWORK_FIELDS,
    "1_Pooling/config.json": sentence_fields.POOLING_FIELDS,
    "2_Dense/config.json": sentence_fields.DENSE_FIELDS,
    "3_LayerNorm/config.json": sentence_fields.LAYER_NORM_FIELDS,
    "4_Normalize/config.json": sentence_fields.NORMALIZE_FIELDS,
    "modules.json": sentence_fields.MODULE_FIELDS,
    "tokenizer_config.json": tokenizer_fields.CONFIG_FIELDS,
    "special_tokens_map.json": dict.fromkeys(
        (*tokenizer_fields.NAMED_TOKENS, *tokenizer_fields.TOKEN_LISTS)
    ),
    "added_tokens.json": dict.fromkeys(("<|im_end|>", "a", "")),
    "tokenizer.json": {**tokenizer_fields.FILE_FIELDS, **tokenizer_fields.MODEL_FIELDS},
}
ODD = st.one_of(
    st.sampled_from(
        [
            *(None, True, False, 0, 1, -1, 5, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, 1e30),
            *("", "left", "right", "mean", "cosine", "query", "a", "<|im_end|>", "\0", "é" * 5000),
            *("../x", "/etc/passwd", "C:\\x", "BertTokenizer", "Qwen2TokenizerFast", "True"),
            *("torch.nn.ReLU", "torch.nn.", "torch.nn.modules.activation.Identity"),
            *([], [[]], [None], ["a"], [1], {}, {"": None}, {"content": "a"}, {"content": 5}),
            *({"text": {}}, {"text": None}, {"5": {"content": "a", "special": 5}}, {"5": []}),
            *({"type": "Sequence", "normalizers": 5}, {"type": "Replace", "content": 5}),
            *({"direction": []}, {"pad_token": []}, {"type": "BPE", "vocab": [], "merges": {}}),
        ]
    ),
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=4,
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Qwen3 with every settings file that there is."""
    place = tmp_path_factory.mktemp("settings")
    folder = seeded.write_decoder(place / "qwen3", "qwen3")
    write_head(folder, ("lasttoken",), [dense(16), LAYER_NORM, NORMALIZE])
    for name in TABLES:
        if not (folder / name).exists():
            (folder / name).write_text("{}")
    (folder / "added_tokens.json").write_text(json.dumps({"<|im_end|>": 514}))
    return folder


@st.composite
def changes(draw):
    file = draw(st.sampled_from(sorted(TABLES)))
    fields = st.sampled_from(sorted(TABLES[file])) | st.text(max_size=3)
    return file, draw(st.dictionaries(fields, ODD, min_size=1, max_size=2)), draw(st.integers(0, 2))


def apply(value, fields, place):
    """The fields put into the file's object, or a part of it: a module, the model."""
    if isinstance(value, list):
        value[place] |= fields
        return value
    if place and isinstance(value.get("model"), dict):
        value["model"] |= fields
        return value
    return value | fields


def check(folder):
    """Opens it: well, or with one sentence."""
    try:
        open_source(folder)
    except EmbedgeError as error:
        message = str(error)
        message.encode("utf-8")
        assert str(folder) in message or "config.json" in message
        assert len(message) < 1500
        assert "\n" not in message


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(change=changes())
def test_odd_values_are_one_sentence_or_harmless(folder, change):
    file, fields, place = change
    path = folder / file
    before = path.read_bytes()
    try:
        try:
            text = json.dumps(apply(json.loads(before), fields, place))
        except ValueError:  # 400 digits are more than Python writes
            return
        path.write_text(text, encoding="utf-8")
        check(folder)
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("file", sorted(TABLES))
@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "[[]]",
        "5",
        '"x"',
        "{",
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"prompts": {"q": "\\ud800"}}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a":' * 50_000,
        '[{"type": "sentence_transformers.models.Transformer", "path": ["x"]}]',
        "\ufeff{}",
    ],
    ids=range(14),
)
def test_files_that_are_something_else(folder, file, text):
    path = folder / file
    before = path.read_bytes()
    try:
        path.write_text(text, encoding="utf-8")
        check(folder)
    finally:
        path.write_bytes(before)
