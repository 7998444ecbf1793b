"""Model folders made to harm: damaged files, lying headers, names that leave the folder."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save, save_file

import seeded
from embedge.errors import EmbedgeError, SourceError
from embedge_export.families.bert.fields import BERT_FIELDS
from embedge_export.families.clip.fields import CLIP, TEXT_NETWORK, TEXT_TOWER
from embedge_export.families.decoder.fields import DECODER_FIELDS
from embedge_export.families.eva02.fields import VISION_TOWER
from embedge_export.families.modernbert.fields import MODERNBERT_FIELDS
from embedge_export.merged import write_merged
from embedge_export.model import open_model
from embedge_export.source.folder import open_source
from embedge_export.tensors.checkpoint import open_weights
from embedge_export.tensors.lora import load_adapter
from embedge_export.tensors.weights import Weights

ADAPTER_FIELDS = (
    "peft_type",
    "r",
    "lora_alpha",
    "bias",
    "use_dora",
    "use_rslora",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
)
TENSORS = {"a": np.arange(64, dtype=np.float32), "b": np.ones((4, 4), np.float16)}


def pack(header, data=b"", *, size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + data


def entry(start, end, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        b"\x00" * 8,
        b"\xff" * 64,
        pack({}, size=2**63),
        pack({}, size=100_000_001),  # over the format's limit
        pack(b"{" * 1000),
        pack(b"[]"),
        pack(b'{"a":null}'),
        pack({"a": entry(0, 4)}),  # no data
        pack({"a": entry(0, 8)}, bytes(8)),  # shape and bytes differ
        pack({"a": entry(4, 8)}, bytes(8)),  # a hole
        pack({"a": entry(0, 4), "b": entry(0, 4)}, bytes(4)),  # one on the other
        pack({"a": entry(0, 4)}, bytes(400)),  # bytes that nobody owns
        pack({"a": entry(0, 2**62, (2**60,))}, bytes(8)),  # claims 4 EiB
        pack({"a": entry(0, 0, (2**40, 2**40, 2**40, 0))}),  # overflows a product
        pack({"a": entry(-4, 0)}, bytes(4)),
        pack({"a": entry(0, 4, (-1,))}, bytes(4)),
        pack({"a": entry(0, 4, dtype="F32X")}, bytes(4)),
    ],
)
def test_lying_headers(tmp_path, data):
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(SourceError, match=r"model\.safetensors"):
        open_weights(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, len(save(TENSORS)) - 1))
def test_a_file_cut_anywhere(tmp_path, cut):
    (tmp_path / "model.safetensors").write_bytes(save(TENSORS)[:cut])
    with pytest.raises(SourceError, match=r"model\.safetensors"):
        open_weights(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, 200), value=st.integers(0, 255))
def test_any_byte_of_the_header_changed(tmp_path, place, value):
    data = bytearray(save(TENSORS))
    data[place] = value
    (tmp_path / "model.safetensors").write_bytes(bytes(data))
    try:
        weights = open_weights(tmp_path)
        for key in weights.keys():  # noqa: SIM118 - Weights has no iteration
            weights.read(key)
    except SourceError as error:
        assert "model.safetensors" in str(error)  # noqa: PT017 - it may also be fine


def test_a_file_cut_after_it_was_opened_is_an_error_and_no_crash(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": np.ones(2**20, np.float32)}, path)
    weights = open_weights(tmp_path)
    os.truncate(path, 2**20)
    with pytest.raises(SourceError, match="ends inside tensor 'a'"):
        weights.read("a")
    path.unlink()
    with pytest.raises(SourceError, match=r"model\.safetensors cannot be read"):
        weights.read("a")


@pytest.mark.parametrize(
    "shard",
    [
        "../secret.safetensors",
        "../../etc/passwd",
        "/etc/passwd",
        "sub/secret.safetensors",
        "..\\secret.safetensors",
        "C:\\secret.safetensors",
        "..",
        ".",
        "",
        "a\x00b",
        7,
        None,
        ["m.safetensors"],
    ],
)
def test_an_index_that_points_out_of_the_folder(tmp_path, shard):
    save_file({"a": np.ones(1, np.float32)}, tmp_path / "secret.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    index = {"weight_map": {"a": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SourceError, match=r"index\.json: tensor 'a' is placed in .*do not trust"):
        open_weights(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "[" * 100_000, '{"weight_map": []}', "\xff"])
def test_an_index_that_is_none(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text, encoding="latin-1")
    with pytest.raises(SourceError, match=r"index\.json"):
        open_weights(tmp_path)


def test_model_code_is_never_run(tmp_path):
    folder = seeded.write_v5_text_small(tmp_path / "model")
    for name in ("modeling_jina_embeddings_v5.py", "configuration_jina_embeddings_v5.py"):
        (folder / name).write_text("raise SystemExit('code of a model was run')")
    (folder / "custom_st.py").write_text("raise SystemExit('code of a model was run')")
    write_merged(open_source(folder), tmp_path / "out", tasks=["retrieval"])
    assert not list((tmp_path / "out").rglob("*.py"))
    assert "auto_map" not in (tmp_path / "out" / "retrieval" / "config.json").read_text()


@pytest.mark.parametrize("task", ["../../out", "/tmp/out", "a/../../b", "..", ".hidden", "a\\b"])
def test_a_task_name_never_becomes_a_path(tmp_path, task):
    folder = seeded.write_v5_text_small(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"task_names": [task]}))
    with pytest.raises(SourceError, match="cannot be part of a file name"):
        open_source(folder)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(
    fields=st.dictionaries(
        st.sampled_from(ADAPTER_FIELDS),
        st.recursive(
            st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.text(max_size=3), inner, max_size=2)
            ),
            max_leaves=4,
        ),
        min_size=1,
    )
)
def test_any_adapter_configuration_is_merged_or_refused_by_name(model, tmp_path, fields):
    place = tmp_path / "adapter"
    shutil.copytree(model / "adapters" / "retrieval", place, dirs_exist_ok=True)
    config = json.loads((model / "adapters" / "retrieval" / "adapter_config.json").read_text())
    (place / "adapter_config.json").write_text(json.dumps(config | fields))
    try:
        load_adapter(place, open_weights(model))
    except EmbedgeError as error:
        assert str(place) in str(error)  # noqa: PT017 - it may also be fine


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_file_that_is_none_is_refused_at_once(tmp_path, kind):
    """Each file of a model in turn: nothing waits for a pipe, or reads a device without end."""
    folder = seeded.write_v5_text_small(tmp_path / "model")
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert len(names) > 8
    for name in names:
        path = folder / name
        path.rename(tmp_path / "held")
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            path.mkdir()
        with pytest.raises(SourceError, match=path.name):
            open_model(open_source(str(folder), revision=None))
        path.rmdir() if kind == "folder" else path.unlink()
        (tmp_path / "held").rename(path)
    open_model(open_source(str(folder), revision=None))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return seeded.write_v5_text_small(tmp_path_factory.mktemp("attacks") / "model")


_ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 70)
    | st.sampled_from([10**9, 2**31, 2**63, 10**400, 1e9, 1e300, 1e-9, -1.0, 0.0])
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["1e6", "silu", "gelu", "default", "yarn", "full_attention", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["rope_type", "type", "factor", "rope_theta", "0", "full_attention"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)
_DEEP = json.loads("[" * 900 + "]" * 900)
_WRITERS = {
    "small": seeded.write_v5_text_small,
    "nano": seeded.write_v5_text_nano,
    "qwen2": lambda folder: seeded.write_decoder(folder, "qwen2"),
    "llama": lambda folder: seeded.write_decoder(folder, "llama"),
    "eurobert": seeded.write_eurobert,
    "bert": seeded.write_bert,
    "xlm-roberta": lambda folder: seeded.write_bert(folder, "xlm-roberta"),
    "modernbert": seeded.write_modernbert,
    "mpnet": lambda folder: seeded.write_bert(folder, "mpnet"),
    "distilbert": lambda folder: seeded.write_bert(folder, "distilbert"),
    "v3": seeded.write_v3,
    "v3-native": seeded.write_v3_native,
    "clip": seeded.write_jina_clip,
}


@pytest.fixture(scope="module", params=list(_WRITERS))
def family(request, tmp_path_factory):
    return _WRITERS[request.param](tmp_path_factory.mktemp("odd") / "model")


def fields_of(family, inside):
    config = json.loads((family / "config.json").read_text())
    known = set(config if inside is None else config.get(inside) or {})
    networks = (*DECODER_FIELDS.values(), *BERT_FIELDS.values(), MODERNBERT_FIELDS)
    known |= {name for table in networks for name in table}
    known |= {name for table in (CLIP, TEXT_TOWER, TEXT_NETWORK, VISION_TOWER) for name in table}
    return sorted(known)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)
@given(data=st.data())
def test_any_field_of_any_type_is_used_or_refused_in_one_sentence(family, data):
    text = (family / "config.json").read_text()
    config = json.loads(text)
    inside = data.draw(st.sampled_from([None, None, "text_config", "vision_config"]))
    place = config if inside is None else config.setdefault(inside, {})
    names = st.sampled_from(fields_of(family, inside))
    place |= data.draw(st.dictionaries(names, _ODD | st.just(_DEEP), min_size=1, max_size=2))
    (family / "config.json").write_text(json.dumps(config))
    try:
        open_model(open_source(family))
    except EmbedgeError as error:
        assert "\n" not in str(error)  # noqa: PT017 - it may also be fine
        assert len(str(error)) < 1500  # noqa: PT017
    finally:
        (family / "config.json").write_text(text)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=12
)
@given(data=st.data())
def test_any_tensor_of_any_shape_is_read_or_refused_in_one_sentence(family, tmp_path, data):
    """Missing, renamed, doubled, of another shape or type: every member of a family."""
    folder = tmp_path / "model"
    if not folder.exists():
        shutil.copytree(family, folder)
    tensors = load_file(family / "model.safetensors")
    name = data.draw(st.sampled_from(sorted(tensors)))
    shape = data.draw(
        st.lists(st.integers(0, 5) | st.sampled_from([64, 128, 192, 385]), max_size=3)
    )
    held = tensors[name]
    edit = data.draw(st.sampled_from(["lost", "shape", "rows", "i64", "prefix", "other", "nan"]))
    if edit in ("lost", "prefix", "other"):
        held = tensors.pop(name) if edit == "lost" else held
        other = {"lost": "lm_head.weight", "prefix": f"model.{name}", "other": f"{name}.more"}
        tensors[other[edit]] = held.copy()
    elif edit == "shape":
        tensors[name] = np.ones(shape, np.float32)
    elif edit == "rows":
        tensors[name] = np.concatenate([np.atleast_1d(held)] * 2)
    elif edit == "i64":
        tensors[name] = np.ones(held.shape, np.int64)
    else:
        tensors[name] = np.full(held.shape, np.nan, np.float32)
    save_file(tensors, folder / "model.safetensors")
    try:
        model = open_model(open_source(folder))
        towers: list[Weights] = [model.weights(model.source.tasks[0])]
        towers += [] if model.image is None else [model.image.weights]
        for tower in towers:
            for key in sorted(tower.keys()):
                tower.read(key)
    except EmbedgeError as error:
        assert "\n" not in str(error)  # noqa: PT017 - it may also be fine
        return
    heads = r"pooler|lm_head|vocab_transform|vocab_layer_norm|^decoder\.|^head\."
    harmless = re.search(rf"{heads}|position_ids|freqs|logit_scale", name)
    assert harmless or (edit == "shape" and tensors[name].shape == held.shape)


@pytest.mark.parametrize("tower", ["text_config", "vision_config"])
def test_a_width_that_is_no_number_is_named_in_short(tower, tmp_path):
    path = seeded.write_jina_clip(tmp_path / "model") / "config.json"
    config = json.loads(path.read_text())
    config[tower]["embed_dim"] = _DEEP
    path.write_text(json.dumps(config))
    with pytest.raises(EmbedgeError, match=r"\[\[\[") as found:
        open_model(open_source(path.parent))
    assert len(str(found.value)) < 500
