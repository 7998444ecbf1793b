"""The training of embedge-mini: its network, its losses, its interruptions, its checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, pre_tokenizers, trainers
from transformers import Qwen3Config, Qwen3Model

from embedge import Embedder
from embedge_export.export import export_pack
from mini import adapt, batches, checkpoint, descent, distill, losses, targets
from mini.network import Shape, Student
from seeded.files import new_tokenizer

TEXTS = [
    f"{kind} number {number} is {word}"
    for kind in ("house", "dog", "tree", "river")
    for number in range(12)
    for word in ("red", "old", "far away", "small and green")
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = new_tokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    made.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return made


@pytest.fixture(scope="module")
def aims() -> np.ndarray:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(len(TEXTS), 256)) + 3 * generator.normal(size=(4, 256)).repeat(
        len(TEXTS) // 4, axis=0
    )
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def new(tokenizer: Tokenizer, layers: int = 2) -> Student:
    shape = Shape(tokenizer.get_vocab_size(), layers=layers, intermediate=96)
    generator = torch.Generator().manual_seed(1)
    return distill.new_student(shape, torch.randn(shape.vocab, 256, generator=generator))


def test_the_network_is_qwen3_as_transformers_has_it(tokenizer: Tokenizer) -> None:
    student = new(tokenizer, layers=3)
    for layer in student.layers:  # attention that matters, and differs from place to place
        torch.nn.init.normal_(layer.self_attn.o_proj.weight, std=0.1)
        torch.nn.init.normal_(layer.self_attn.q_norm.weight, mean=2, std=0.1)
    shape = student.shape
    network = Qwen3Model(
        Qwen3Config(
            vocab_size=shape.vocab,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            head_dim=shape.head_dim,
            rms_norm_eps=shape.epsilon,
            rope_parameters={"rope_theta": shape.rope_theta, "rope_type": "default"},
        )
    )
    network.load_state_dict(student.state_dict())
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, shape.vocab, (5, 11), generator=generator)
    lengths = torch.tensor([11, 3, 7, 1, 10])
    mask = (torch.arange(11)[None] < lengths[:, None]).long()
    states = network(input_ids=ids, attention_mask=mask).last_hidden_state
    expected = states[torch.arange(5), lengths - 1]
    torch.testing.assert_close(student(ids, lengths), expected, atol=1e-5, rtol=1e-5)


class StoppedError(Exception):
    """Stands for a kill."""


def test_an_interrupted_base_goes_on_as_if_nothing_had_been(
    tokenizer: Tokenizer, aims: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill, "BATCH", 32)
    monkeypatch.setattr(distill, "SAVE_EVERY", 4)
    whole, parted = new(tokenizer), new(tokenizer)
    distill.train(whole, TEXTS, aims, tokenizer, tmp_path / "whole.pt", epochs=2)

    def kill(_: Student) -> str:
        raise StoppedError

    with pytest.raises(StoppedError):
        distill.train(parted, TEXTS, aims, tokenizer, tmp_path / "parted.pt", epochs=2, watch=kill)
    again = new(tokenizer)
    distill.train(again, TEXTS, aims, tokenizer, tmp_path / "parted.pt", epochs=2)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    # It learnt: nearer to the targets than the student that it began as.
    tokens = batches.tokenize(tokenizer, [batches.DOCUMENT + text for text in TEXTS])
    rows = tokens.batch(np.arange(len(TEXTS)))
    wanted = torch.from_numpy(aims.astype(np.float32))
    with torch.inference_mode():
        before, after = (losses.nearness(net(*rows), wanted) for net in (new(tokenizer), again))
    assert after < 0.7 * before


def test_an_adapter_learns_alone_and_goes_on_after_a_stop(
    tokenizer: Tokenizer, aims: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapt, "STEPS", 6)
    monkeypatch.setattr(adapt, "SAVE_EVERY", 2)
    base = new(tokenizer)
    descent.save({"student": base.state_dict()}, tmp_path / "base.pt")
    tokens = batches.tokenize(tokenizer, TEXTS)
    wanted = torch.from_numpy(aims.astype(np.float32))
    stop_at = [4]

    def draw(student: Student, generator: np.random.Generator) -> torch.Tensor:
        stop_at[0] -= 1
        if stop_at[0] == 0:
            raise StoppedError
        rows = generator.integers(len(TEXTS), size=16)
        return losses.nearness(student(*tokens.batch(rows)), wanted[rows])

    def run(name: str) -> dict[str, torch.Tensor]:
        adapt.adapt(tmp_path / "base.pt", new(tokenizer), draw, tmp_path / name, name=name)
        return dict(torch.load(tmp_path / name))

    with pytest.raises(StoppedError):
        run("parted.pt")
    again, whole = run("parted.pt"), run("whole.pt")
    assert set(again) == set(whole)
    assert len(again) == 2 * 7 * 2  # A and B of seven matrices in two layers
    for name, matrix in whole.items():
        assert matrix.abs().max() > 0
        torch.testing.assert_close(matrix, again[name], atol=1e-5, rtol=1e-4)


def test_between_two_adapters_lies_their_mean() -> None:
    generator = torch.Generator().manual_seed(4)

    def draw() -> dict[str, torch.Tensor]:
        rank = adapt.RANK // 2  # so that the sum of both fits the rank
        return {
            "q.lora_A": torch.randn(rank, 96, generator=generator),
            "q.lora_B": torch.randn(64, rank, generator=generator),
        }

    one, other = draw(), draw()
    mean = adapt.between(one, other)
    assert mean["q.lora_A"].shape == (adapt.RANK, 96)
    expected = (one["q.lora_B"] @ one["q.lora_A"] + other["q.lora_B"] @ other["q.lora_A"]) / 2
    torch.testing.assert_close(mean["q.lora_B"] @ mean["q.lora_A"], expected, atol=1e-3, rtol=1e-3)


def test_the_checkpoint_exports_to_what_was_trained(tokenizer: Tokenizer, tmp_path: Path) -> None:
    student = new(tokenizer)
    generator = torch.Generator().manual_seed(3)
    weights = {name: value.bfloat16().float() for name, value in student.state_dict().items()}
    matrices = {}
    for name, module in student.named_modules():
        if isinstance(module, torch.nn.Linear):
            inner, outer = module.in_features, module.out_features
            for side, size in (("A", (adapt.RANK, inner)), ("B", (outer, adapt.RANK))):
                drawn = 0.05 * torch.randn(size, generator=generator)
                matrices[f"{name}.lora_{side}"] = drawn.bfloat16().float()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    adapters = {"retrieval": matrices, "text-matching": {n: 0 * m for n, m in matrices.items()}}
    checkpoint.write(
        tmp_path / "model", student.shape, weights, adapters, tmp_path / "tokenizer.json",
        "---\nlicense: apache-2.0\n---\n",
    )  # fmt: skip
    export_pack(tmp_path / "model", out=tmp_path / "pack", precisions=["fp32"])

    student.load_state_dict(weights)
    tokens = batches.tokenize(tokenizer, [batches.QUERY + text for text in TEXTS[:9]])
    with Embedder(tmp_path / "pack") as embedder, torch.inference_mode():
        for task in adapters:
            if task == "retrieval":  # after the plain base
                continue
            ours = embedder.encode_query(TEXTS[:9], task=task)
            theirs = losses.unit(student(*tokens.batch(np.arange(9)))).numpy()
            np.testing.assert_allclose(ours, theirs, atol=2e-5)
        student.add_adapters(adapt.RANK, 1.0)
        student.load_state_dict({**student.state_dict(), **matrices})
        ours = embedder.encode_query(TEXTS[:9], task="retrieval")
        adapted = losses.unit(student(*tokens.batch(np.arange(9)))).numpy()
        np.testing.assert_allclose(ours, adapted, atol=2e-5)
        assert np.abs(adapted - theirs).max() > 0.01


def test_targets_keep_similarities_and_put_the_most_first() -> None:
    generator = np.random.default_rng(0)
    spread = 0.97 ** np.arange(384)
    vectors = generator.normal(size=(3000, 384)) * spread
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    matrix = targets.projection(vectors.astype(np.float16))
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(256), atol=1e-5)
    projected = targets.project(vectors.astype(np.float16), matrix).astype(np.float32)
    np.testing.assert_allclose(projected @ projected[:9].T, vectors @ vectors[:9].T, atol=0.01)
    energy = (projected**2).mean(0)
    stretches = [energy[start:stop] for start, stop in ((0, 32), (32, 64), (64, 128), (128, 256))]
    means = [stretch.mean() for stretch in stretches]
    assert means == sorted(means, reverse=True)
    # Within a stretch no dimension towers: each sign of a binary code carries about as much.
    assert all(stretch.max() < 3 * stretch.mean() for stretch in stretches)


def test_losses_prefer_what_they_should() -> None:
    one = torch.eye(256)[:6]
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    tight = one[labels] + 0.01 * one
    assert losses.groups(tight, labels) < losses.groups(one, labels)
    assert losses.spread(one) == 0
    assert losses.spread(tight) > 0.1
    apart = ~torch.eye(6, dtype=torch.bool)
    none = torch.zeros(6, 6, dtype=torch.bool)
    # Documents that would answer as well do not count as negatives.
    assert losses.contrast(tight, tight, apart) < losses.contrast(tight, tight, none)
    grades = torch.tensor([1.0, 0.5, 0.0])
    near = torch.nn.functional.normalize(torch.randn(3, 256), dim=1)
    far = torch.nn.functional.normalize(torch.randn(3, 256), dim=1)
    shares = grades[:, None]
    ordered, reversed_ = near * shares + far * (1 - shares), near * (1 - shares) + far * shares
    assert losses.ranking(near, ordered, grades) < losses.ranking(near, reversed_, grades)
