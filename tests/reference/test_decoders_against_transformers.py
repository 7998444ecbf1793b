"""Plain networks without adapters: packs against transformers, as AutoModel loads them."""

import json

import pytest
import torch

import seeded
from embedge import Embedder
from embedge.pack.reading import read_manifest
from embedge_export.export import export_pack
from reference import oracle
from reference.samples import TEXTS, words

BARS = {"fp32": (0.999999, 1e-5), "fp16": (0.9999, 1e-2), "int8": (0.99, 0.2)}
MODELS = {
    "qwen3": {},  # Qwen3-Embedding: the tokenizer closes every text, prompts, no prefix
    "qwen2": {},  # biases on q, k and v
    "llama": {},  # SmolLM2: rope_parameters, "model." before every key
    "qwen3, outliers": {"outliers": True},
    "llama, 3 shards": {"shards": 3},
    "qwen2, no prefix": {"prefix": ""},
    "eurobert": {},  # a masked language model's head, a token on both sides, last-token pooling
    "eurobert, mean": {},
}


@pytest.fixture(scope="module", params=list(MODELS))
def source(request, sources):
    folder = sources / request.param.replace(", ", "-").replace(" ", "-")
    kind = request.param.split(",")[0]
    # demo's head_dim of 64 and rotation over 256 channels; few tokens.
    size = seeded.Dimensions(
        hidden=256, layers=4, heads=4, kv_heads=2, head_dim=64, intermediate=512
    )
    if kind == "eurobert":
        pooling = "mean_tokens" if "mean" in request.param else "lasttoken"
        return seeded.write_eurobert(folder, size=size, pooling=pooling)
    return seeded.write_decoder(folder, kind, size=size, **MODELS[request.param])


@pytest.fixture(scope="module")
def pack(source):
    out = source.with_name(source.name + "-pack")
    # Judged by this file's bars, not by the gate's.
    export_pack(source, out=out, precisions=tuple(BARS), accept_failures=True)
    return out


@pytest.fixture(scope="module")
def outside(source):
    return oracle.open_decoder(source), oracle.open_tokenizer(source)


@pytest.fixture(scope="module")
def mean(source):
    """Whether the source says that its vectors are the means of all tokens'."""
    settings = source / "1_Pooling" / "config.json"
    return settings.exists() and json.loads(settings.read_text())["pooling_mode_mean_tokens"]


def test_the_checkpoint_is_what_it_claims(source, outside):
    network, _ = outside
    config = json.loads((source / "config.json").read_text())
    assert type(network).__name__.lower() == f"{config['model_type']}model"
    assert network.config.num_key_value_heads == 2
    biased = network.layers[0].self_attn.q_proj.bias is not None
    assert biased == (config["model_type"] == "qwen2")
    if biased:
        assert torch.count_nonzero(network.layers[0].self_attn.q_proj.bias)


@pytest.fixture(scope="module")
def expected(outside, mean):
    """Batches of texts, and the other side's vectors of each."""
    network, tokenizer = outside
    texts = [text for text in TEXTS if text]  # not every tokenizer has a token for ""
    batches = [*([text] for text in texts[:3]), texts[:4], texts, [words(300, 4), "short"]]
    assert len(tokenizer(batches[-1][0])["input_ids"]) > 700
    return [
        (batch, oracle.cut(oracle.encode(network, tokenizer, batch, mean=mean)))
        for batch in batches
    ]


@pytest.mark.parametrize("precision", list(BARS))
def test_vectors(source, pack, expected, precision, figures):
    lowest, largest = BARS[precision]
    with Embedder(pack, precision=precision, device="cpu", threads=1) as embedder:
        for batch, want in expected:
            cosine, difference = oracle.agreement(embedder.encode(batch, prompt=""), want)
            figures(f"{source.name} {precision}", cosine, difference)
            assert cosine >= lowest
            assert difference <= largest


def test_prompts_of_qwen3_embedding(source, pack, outside):
    settings = source / "config_sentence_transformers.json"
    manifest = read_manifest(pack)
    assert manifest.tasks == ("base",)
    prompts = json.loads(settings.read_text())["prompts"] if settings.exists() else {}
    assert dict(manifest.prompts) == prompts
    if not prompts:
        return
    network, tokenizer = outside
    with Embedder(pack, precision="fp32", device="cpu", threads=1) as embedder:
        got = embedder.encode_query(TEXTS)
        want = oracle.encode(network, tokenizer, TEXTS, prompt=prompts["query"])
        assert oracle.agreement(got, oracle.cut(want))[0] >= BARS["fp32"][0]
        got = embedder.encode_document(TEXTS)  # no prompt, and "" is the closing token alone
        want = oracle.encode(network, tokenizer, TEXTS)
        assert oracle.agreement(got, oracle.cut(want))[0] >= BARS["fp32"][0]
