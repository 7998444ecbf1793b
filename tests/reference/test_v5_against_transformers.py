"""jina-embeddings-v5-text-small's layout: packs against transformers and peft.

Every task, prompt and Matryoshka width, over batches of mixed lengths, through the real Embedder
on one side and the model's own recipe (tokenizer, peft, last token, slice, normalise) on the
other.
"""

import itertools

import numpy as np
import pytest
import torch

import seeded
from embedge import Embedder
from embedge.manifest import read_manifest
from reference import oracle
from reference.samples import TEXTS, words

WIDTHS = (32, 64, 128, 256, 512, 768, 1024)
# Lowest cosine, largest difference of a component. int8: what its gate promises.
BARS = {"fp32": (0.999999, 1e-5), "fp16": (0.9999, 1e-2), "int8": (0.99, 0.2)}
# Alone, in pairs, all at once: each text stands beside others and is padded otherwise.
BATCHES = ([[i] for i in range(len(TEXTS))], [[0, 3], [1, 7], [5, 2, 8]], [range(len(TEXTS))])


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


def test_manifest_says_what_the_model_is(v5_pack):
    manifest = read_manifest(v5_pack / ".")
    assert manifest.text.padding == "right"  # the operator counts valid tokens from the left
    assert manifest.tasks == seeded.TASKS
    assert manifest.default_task == "text-matching"
    assert dict(manifest.prompts) == oracle.PROMPTS
    assert manifest.default_prompt == "document"
    assert manifest.dimension == max(WIDTHS)
    assert manifest.matryoshka_dimensions == WIDTHS
    assert manifest.text.max_length == 32768
    assert all(manifest.passed_gate(precision) for precision in BARS)


@pytest.mark.parametrize("prompt", oracle.PROMPTS)
@pytest.mark.parametrize("task", seeded.TASKS)
def test_every_task_prompt_width_and_batch(network, tokenizer, embedder, task, prompt, figures):
    network.set_adapter(task)
    lowest, largest = BARS[embedder.precision]
    for batch in itertools.chain(*BATCHES):
        texts = [TEXTS[index] for index in batch]
        for width in WIDTHS if len(batch) > 1 else WIDTHS[-1:]:
            expected = oracle.encode(
                network, tokenizer, texts, prompt=oracle.PROMPTS[prompt], width=width
            )
            got = embedder.encode(texts, task=task, prompt_name=prompt, truncate_dim=width)
            cosine, difference = oracle.agreement(got, expected)
            figures(f"v5 {embedder.precision}", cosine, difference)
            assert cosine >= lowest
            assert difference <= largest


def test_defaults_are_those_of_encode(network, tokenizer, embedder):
    """No prompt_name means "document"; the hosted API's aliases mean retrieval and a prompt."""
    network.set_adapter("text-matching")
    expected = oracle.encode(network, tokenizer, TEXTS, prompt="Document: ")
    lowest, _ = BARS[embedder.precision]
    assert oracle.agreement(embedder.encode(TEXTS), expected)[0] >= lowest
    network.set_adapter("retrieval")
    expected = oracle.encode(network, tokenizer, TEXTS, prompt="Query: ")
    got = embedder.encode(TEXTS, task="retrieval.query")
    assert oracle.agreement(got, expected)[0] >= lowest


@pytest.mark.filterwarnings("ignore::embedge.tokens.TruncationWarning")
@pytest.mark.parametrize("max_length", [3, 8, 64])
def test_truncation(network, tokenizer, embedder, max_length):
    """Cut on the right, with the prompt counted; the last token kept is the one pooled."""
    network.set_adapter("clustering")
    prompt = "Q:"  # short enough for 3 tokens
    expected = oracle.encode(network, tokenizer, TEXTS, prompt=prompt, max_length=max_length)
    got = embedder.encode(TEXTS, task="clustering", prompt=prompt, max_length=max_length)
    assert oracle.agreement(got, expected)[0] >= BARS[embedder.precision][0]


def test_long_text_beside_short_ones(network, tokenizer, embedder, figures):
    """700 words, several thousand positions' worth of rotary table reached at once."""
    texts = [words(700, 4), "short", words(300, 5)]
    assert len(tokenizer(texts[0])["input_ids"]) > 2000
    network.set_adapter("retrieval")
    expected = oracle.encode(network, tokenizer, texts, prompt="Document: ")
    got = embedder.encode(texts, task="retrieval", prompt_name="document")
    cosine, difference = oracle.agreement(got, expected)
    figures(f"v5 {embedder.precision}, long", cosine, difference)
    lowest, largest = BARS[embedder.precision]
    assert cosine >= lowest
    assert difference <= largest


def test_not_normalised_vectors_too(network, tokenizer, embedder):
    """Lengths carry meaning for some users; only directions were compared so far."""
    if embedder.precision != "fp32":
        pytest.skip("the bars of fp16 and int8 are cosines")
    network.set_adapter("retrieval")
    batch = tokenizer(["Query: " + text for text in TEXTS], padding=True, return_tensors="pt")
    expected = oracle.run(network, batch["input_ids"], batch["attention_mask"]).numpy()
    got = embedder.encode(TEXTS, task="retrieval.query", normalize=False)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


class TestTheComparisonNotices:
    """Each plausible mistake moves the vectors below the bar: the comparisons above can fail."""

    @pytest.fixture(scope="class")
    def right(self, v5_source, network, tokenizer):
        network.set_adapter("retrieval")
        return oracle.encode(network, tokenizer, TEXTS, prompt="Query: ")

    @pytest.fixture(params=[{"rope_theta": 1000000}, {"rms_norm_eps": 1e-3}], ids=str)
    def changed(self, request, v5_source):
        return oracle.open_v5(v5_source, **request.param)

    def noticed(self, wrong, right):
        # Not even the lowest cosine alone: every text that can differ does.
        return oracle.agreement(wrong, right)[0] < BARS["fp32"][0]

    def test_configuration(self, changed, tokenizer, right):
        changed.set_adapter("retrieval")
        assert self.noticed(oracle.encode(changed, tokenizer, TEXTS, prompt="Query: "), right)

    def test_task(self, network, tokenizer, right):
        network.set_adapter("text-matching")
        assert self.noticed(oracle.encode(network, tokenizer, TEXTS, prompt="Query: "), right)

    def test_no_adapter(self, network, tokenizer, right):
        with network.disable_adapter():
            bare = oracle.encode(network, tokenizer, TEXTS, prompt="Query: ")
        assert self.noticed(bare, right)

    def test_prompt(self, network, tokenizer, right):
        network.set_adapter("retrieval")
        assert self.noticed(oracle.encode(network, tokenizer, TEXTS, prompt="Query:"), right)

    def test_pooling(self, network, tokenizer, right):
        network.set_adapter("retrieval")
        batch = tokenizer(["Query: " + text for text in TEXTS], padding=True, return_tensors="pt")
        with torch.inference_mode():
            hidden = network(**batch).last_hidden_state
        assert self.noticed(oracle.normalised(hidden[:, -1]), right)
        mean = (hidden * batch["attention_mask"][..., None]).sum(dim=1)
        assert self.noticed(oracle.normalised(mean), right)
