"""The v5 models' layouts, small and nano: packs against transformers and peft.

Every task, prompt and Matryoshka width, over batches of mixed lengths, through the real Embedder
on one side and the model's own recipe (tokenizer, peft, last token, slice, normalize) on the
other.
"""

import functools

import numpy as np
import pytest
import torch

import seeded
from embedge import Embedder
from embedge.engine.session import OnnxSession
from embedge.pack.reading import read_manifest
from reference import oracle
from reference.samples import TEXTS, words

WIDTHS = {
    "small": (32, 64, 128, 256, 512, 768, 1024),
    "nano": (32, 64, 128, 256, 512, 768),
}
# Lowest cosine, largest difference of a component. int8: what its gate promises.
BARS = {"fp32": (0.999999, 1e-5), "fp16": (0.9999, 1e-2), "int8": (0.99, 0.2)}
# Alone, in pairs, all at once: each text stands beside others and is padded otherwise.
ALL = tuple(range(len(TEXTS)))
BATCHES = (*((index,) for index in ALL), (0, 3), (1, 7), (5, 2, 8), ALL)


@pytest.fixture(scope="module")
def network(v5_source):
    return oracle.open_v5(v5_source)


@pytest.fixture(scope="module")
def tokenizer(v5_source):
    return oracle.open_tokenizer(v5_source)


@pytest.fixture(scope="module", params=list(BARS))
def embedder(request, v5_pack):
    with Embedder(v5_pack, precision=request.param, device="cpu", threads=1) as opened:
        yield opened


def test_manifest_says_what_the_model_is(v5_model, v5_pack):
    manifest = read_manifest(v5_pack)
    widths = WIDTHS[v5_model]
    # small's operator counts valid tokens from the left
    assert manifest.text.padding == {"small": "right", "nano": "either"}[v5_model]
    assert manifest.tasks == seeded.TASKS
    assert manifest.default_task == "text-matching"
    assert dict(manifest.prompts) == oracle.PROMPTS
    assert manifest.default_prompt == "document"
    assert manifest.dimension == max(widths)
    assert manifest.matryoshka_dimensions == widths
    assert manifest.text.max_length == {"small": 32768, "nano": 8192}[v5_model]
    assert all(manifest.passed_gate(precision) for precision in BARS)


@pytest.fixture(scope="module")
def expected(network, tokenizer):
    """The other side's vectors of a task, prompt and batch of TEXTS, not normalized."""

    @functools.cache
    def compute(task, prompt, batch):
        network.set_adapter(task)
        texts = [TEXTS[index] for index in batch]
        return oracle.encode(network, tokenizer, texts, prompt=oracle.PROMPTS[prompt])

    return compute


@pytest.mark.parametrize("prompt", oracle.PROMPTS)
@pytest.mark.parametrize("task", seeded.TASKS)
def test_every_task_prompt_width_and_batch(v5_model, expected, embedder, task, prompt, figures):
    lowest, largest = BARS[embedder.precision]
    widths = WIDTHS[v5_model]
    for batch in BATCHES:
        texts = [TEXTS[index] for index in batch]
        for width in widths if batch == ALL else widths[-1:]:
            got = embedder.encode(texts, task=task, prompt_name=prompt, truncate_dim=width)
            cosine, difference = oracle.agreement(
                got, oracle.cut(expected(task, prompt, batch), width)
            )
            figures(f"v5 {v5_model} {embedder.precision}", cosine, difference)
            assert cosine >= lowest
            assert difference <= largest


def test_defaults_are_those_of_encode(expected, embedder):
    """No prompt_name means "document"; the hosted API's aliases mean retrieval and a prompt."""
    lowest, _ = BARS[embedder.precision]
    got = embedder.encode(TEXTS)
    want = oracle.cut(expected("text-matching", "document", ALL))
    assert oracle.agreement(got, want)[0] >= lowest
    got = embedder.encode(TEXTS, task="retrieval.query")
    assert oracle.agreement(got, oracle.cut(expected("retrieval", "query", ALL)))[0] >= lowest


@pytest.mark.filterwarnings("ignore::embedge.texts.tokens.TruncationWarning")
@pytest.mark.parametrize("max_length", [3, 8, 64])
def test_truncation(network, tokenizer, embedder, max_length):
    """Cut on the right, with the prompt counted; the last token kept is the one pooled."""
    network.set_adapter("clustering")
    prompt = "Q"  # short enough for 3 tokens
    want = oracle.encode(network, tokenizer, TEXTS, prompt=prompt, max_length=max_length)
    got = embedder.encode(TEXTS, task="clustering", prompt=prompt, max_length=max_length)
    assert oracle.agreement(got, oracle.cut(want))[0] >= BARS[embedder.precision][0]


@pytest.mark.parametrize("task", seeded.TASKS)
def test_padding_on_either_side(v5_source, v5_pack, network, task, figures):
    """The graph itself, from ids that transformers' tokenizer has padded on the left."""
    manifest = read_manifest(v5_pack)
    if manifest.text.padding != "either":
        pytest.skip("this network's graph takes right padding alone, as its manifest says")
    network.set_adapter(task)
    session = OnnxSession(
        v5_pack / manifest.graph(task=task, precision="fp32").file, device="cpu", threads=1
    )
    vectors = {}
    for side in ("left", "right"):
        batch = oracle.open_tokenizer(v5_source, side=side)(
            [oracle.PROMPTS["query"] + text for text in TEXTS], padding=True, return_tensors="pt"
        )
        ids, mask = batch["input_ids"], batch["attention_mask"]
        assert (mask[:, 0 if side == "left" else -1] == 0).any()
        vectors[side] = session.run(ids.numpy(), mask.numpy())
        want = oracle.cut(oracle.run(network, ids, mask).numpy())
        cosine, difference = oracle.agreement(oracle.cut(vectors[side]), want)
        figures(f"v5 nano fp32, {side} padding", cosine, difference)
        assert cosine >= BARS["fp32"][0]
        assert difference <= BARS["fp32"][1]
    np.testing.assert_array_equal(vectors["left"], vectors["right"])


@pytest.fixture(scope="module")
def long(network, tokenizer):
    """A text of over 700 tokens beside a short one: texts, and the other side's vectors."""
    texts = [words(300, 4), "short"]
    assert len(tokenizer(texts[0])["input_ids"]) > 700
    network.set_adapter("retrieval")
    return texts, oracle.cut(oracle.encode(network, tokenizer, texts, prompt="Document: "))


def test_long_text_beside_a_short_one(v5_model, long, embedder, figures):
    texts, want = long
    got = embedder.encode(texts, task="retrieval", prompt_name="document")
    cosine, difference = oracle.agreement(got, want)
    figures(f"v5 {v5_model} {embedder.precision}, long", cosine, difference)
    lowest, largest = BARS[embedder.precision]
    assert cosine >= lowest
    assert difference <= largest


def test_lengths_of_vectors_that_are_not_normalized(expected, v5_pack):
    with Embedder(v5_pack, precision="fp32", device="cpu", threads=1) as embedder:
        got = embedder.encode(TEXTS, task="retrieval.query", normalize=False)
    want = expected("retrieval", "query", ALL)
    assert np.linalg.norm(want, axis=1).min() > 2  # so that it differs from normalized ones
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.fixture
def noticed(expected):
    """Whether vectors of TEXTS as retrieval queries would miss the bar of the tests above.

    The tests that follow make plausible mistakes; each must be noticed.
    """

    def below_the_bar(wrong):
        right = oracle.cut(expected("retrieval", "query", ALL))
        return oracle.agreement(oracle.cut(wrong), right)[0] < BARS["fp32"][0]

    return below_the_bar


@pytest.mark.parametrize(
    "change", [{"rope_theta": 250000}, {"rms_norm_eps": 1e-3}], ids=["rope", "epsilon"]
)
def test_another_configuration_is_noticed(v5_source, tokenizer, noticed, change):
    network = oracle.open_v5(v5_source, **change)
    network.set_adapter("retrieval")
    assert noticed(oracle.encode(network, tokenizer, TEXTS, prompt="Query: "))


def test_another_task_is_noticed(expected, noticed):
    assert noticed(expected("text-matching", "query", ALL))


def test_no_adapter_is_noticed(network, tokenizer, noticed):
    with network.disable_adapter():
        assert noticed(oracle.encode(network, tokenizer, TEXTS, prompt="Query: "))


def test_a_prompt_without_its_space_is_noticed(network, tokenizer, noticed):
    network.set_adapter("retrieval")
    assert noticed(oracle.encode(network, tokenizer, TEXTS, prompt="Query:"))


def test_another_pooling_is_noticed(network, tokenizer, noticed):
    network.set_adapter("retrieval")
    batch = tokenizer(["Query: " + text for text in TEXTS], padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = network(**batch).last_hidden_state
    assert noticed(hidden[:, -1].numpy())  # of shorter texts that is padding
    assert noticed(hidden[:, 0].numpy())
    assert noticed((hidden * batch["attention_mask"][..., None]).sum(dim=1).numpy())
