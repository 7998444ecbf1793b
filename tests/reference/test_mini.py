"""The training of embedge-mini: its network, its losses, its interruptions, its checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, pre_tokenizers, trainers
from transformers import Qwen3Config, Qwen3Model

from embedge import Embedder
from embedge_export.export import export_pack
from mini import (
    adapt,
    batches,
    checkpoint,
    compose,
    descent,
    distill,
    further,
    losses,
    objectives,
    targets,
)
from mini.corpus import Entry
from mini.items import Item, is_held_out
from mini.material import Material, Pair
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
    monkeypatch.setattr(distill, "SAVE_EVERY", 0)
    lessons = distill.Lessons.of(TEXTS, aims, tokenizer)
    budget = descent.Budget(steps=16)  # two epochs and more
    whole, parted = new(tokenizer), new(tokenizer)
    distill.train(whole, lessons, tmp_path / "whole.pt", budget=budget)
    left = [10]

    def kill(_: torch.nn.Module) -> str:
        left[0] -= 1
        if left[0] == 0:
            raise StoppedError
        return ""

    with pytest.raises(StoppedError):
        distill.train(parted, lessons, tmp_path / "parted.pt", budget=budget, watch=kill)
    again = new(tokenizer)
    distill.train(again, lessons, tmp_path / "parted.pt", budget=budget)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    # It learnt: nearer to the targets than the student that it began as.
    tokens = batches.tokenize(tokenizer, [batches.DOCUMENT + text for text in TEXTS])
    rows = tokens.batch(np.arange(len(TEXTS)))
    wanted = torch.from_numpy(aims.astype(np.float32))
    with torch.inference_mode():
        before, after = (losses.nearness(net(*rows), wanted) for net in (new(tokenizer), again))
    assert after < 0.8 * before


def test_a_budget_of_seconds_ends_and_counts_what_an_earlier_run_spent(
    tokenizer: Tokenizer, aims: np.ndarray, tmp_path: Path
) -> None:
    lessons = distill.Lessons.of(TEXTS, aims, tokenizer)
    file = tmp_path / "base.pt"
    distill.train(new(tokenizer), lessons, file, budget=descent.Budget(seconds=0.5))
    first = torch.load(file)
    assert first["seconds"] >= 0.5
    distill.train(new(tokenizer), lessons, file, budget=descent.Budget(seconds=0.5))
    assert torch.load(file)["done"] == first["done"]
    assert descent.Budget(steps=8, seconds=4).spent(2, 3) == 0.75


def test_an_adapter_learns_alone_and_goes_on_after_a_stop(
    tokenizer: Tokenizer, aims: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapt, "SAVE_EVERY", 0)
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
        adapt.adapt(
            tmp_path / "base.pt", new(tokenizer), draw, tmp_path / name,
            budget=descent.Budget(steps=6), name=name,
        )  # fmt: skip
        return dict(torch.load(tmp_path / name))

    with pytest.raises(StoppedError):
        run("parted.pt")
    again, whole = run("parted.pt"), run("whole.pt")
    assert set(again) == set(whole)
    assert len(again) == 2 * 7 * 2  # A and B of seven matrices in two layers
    for name, matrix in whole.items():
        assert matrix.abs().max() > 0
        torch.testing.assert_close(matrix, again[name], atol=1e-5, rtol=1e-4)


def test_a_kept_adapter_leaves_general_texts_nearer_to_the_base(
    tokenizer: Tokenizer, aims: np.ndarray, tmp_path: Path
) -> None:
    base = new(tokenizer)
    descent.save({"student": base.state_dict()}, tmp_path / "base.pt")
    tokens = batches.tokenize(tokenizer, TEXTS)
    wanted = torch.from_numpy(aims.astype(np.float32))
    own, others = np.arange(48), np.arange(96, 192)

    def moved(keep: float) -> float:
        adapt.adapt(
            tmp_path / "base.pt", new(tokenizer),
            lambda student, _: losses.nearness(student(*tokens.batch(own)), wanted[own]),
            tmp_path / f"{keep}.pt", budget=descent.Budget(steps=12), name="task",
            general=lambda student, _: student(*tokens.batch(others)), keep=keep,
        )  # fmt: skip
        student = new(tokenizer)
        student.add_adapters(adapt.RANK, 1.0)
        student.load_state_dict({**student.state_dict(), **torch.load(tmp_path / f"{keep}.pt")})
        with torch.inference_mode():
            with student.plain():
                before = student(*tokens.batch(others))
            torch.testing.assert_close(before, base(*tokens.batch(others)))
            return float(losses.nearness(student(*tokens.batch(others)), before))

    assert moved(4.0) < 0.5 * moved(0.0)


def test_half_an_adapter_changes_half_as_much() -> None:
    generator = torch.Generator().manual_seed(5)
    one = {
        "q.lora_A": torch.randn(8, 96, generator=generator),
        "q.lora_B": torch.randn(64, 8, generator=generator),
    }
    half = adapt.scaled(one, 0.5)
    torch.testing.assert_close(
        half["q.lora_B"] @ half["q.lora_A"], one["q.lora_B"] @ one["q.lora_A"] / 2
    )


def test_every_objective_gives_a_loss_that_reaches_the_adapter(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "LEAST", 4)
    monkeypatch.setattr(objectives, "TOPICS", 6)
    sources = ("debian", "wordnet", "fortunes", "dict-foldoc", "python3.11-doc")
    entries = [
        Entry(
            f"{text} and stays what it was for years", sources[n % 5], f"group {n}", held_out=False,
            query=f"which {text}" if n % 5 != 2 else None,
            label=None if n % 5 > 2 else f"label {n % 2}",
        )
        for n, text in enumerate(TEXTS)
    ]  # fmt: skip
    pairs = [
        Pair(query, row, entry.source)
        for row, entry in enumerate(entries)
        for query in objectives.queries_of(entry)
    ]
    texts = [entry.text for entry in entries] + [pair.query for pair in pairs] + TEXTS
    drawn = np.random.default_rng(1).normal(size=(len(texts), 256))
    aims = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)
    material = Material(entries, pairs, distill.Lessons.of(texts, aims, tokenizer))
    for name, objective in objectives.OBJECTIVES.items():
        student = new(tokenizer)
        learning = student.add_adapters(4, 1.0)
        loss = objective(material)(student, np.random.default_rng(0))
        loss.backward()
        assert torch.isfinite(loss), name
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in learning), name


def test_a_prompt_is_put_before_tokens_as_if_it_stood_before_the_text(
    tokenizer: Tokenizer,
) -> None:
    texts = ["a red house", "7 dogs (old)", "Ümlaut", *TEXTS[:20]]
    prompts, tokens = batches.Prompts.of(tokenizer), batches.bare(tokenizer, texts)
    which = np.arange(len(texts)) % 2
    ids, lengths = tokens.batch(np.arange(len(texts)), prompts, which)
    for row, text in enumerate(texts):
        expected = tokenizer.encode(batches.PROMPTS[which[row]] + text).ids
        assert ids[row, : lengths[row]].tolist() == expected
        assert not ids[row, lengths[row] :].any()


def test_batches_hold_every_text_once_and_no_more_tokens_than_they_may() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 400, size=1000)
    found = batches.by_length(lengths, 64, 4000, generator)
    assert sorted(np.concatenate(found)) == list(range(1000))
    assert max(len(rows) for rows in found) == 64
    assert all(len(rows) * lengths[rows].max() <= 4000 for rows in found)
    # As few as that allows: no batch could take one more text of its own length.
    full = [(len(rows) + 1) * lengths[rows].max() > 3500 or len(rows) == 64 for rows in found]
    assert sum(full) >= len(found) - 1


def test_composed_and_swapped_sentences_come_in_near_pairs_and_are_the_same_each_time() -> None:
    words = {
        "person": ["doctor", "child"], "animal": ["horse", "fox"], "thing": ["box", "apple"],
        "place": ["city", "church"], "idea": ["plan", "fear"], "doing": ["carry", "stop", "use"],
        "quality": ["old", "heavy"],
    }  # fmt: skip
    found = list(compose.composed(words, 400))
    assert found == list(compose.composed(words, 400))
    assert len(found) == 400
    text = " ".join(found)
    assert "{" not in text
    for right, wrong in (
        ("carrying", "carryed"), ("stopped", "stoped"), ("using", "useing"),
        ("an apple", "a apple"),
        ("foxes", "foxs"), ("carries", "carrys"),
    ):  # fmt: skip
        assert right in text.lower()
        assert wrong not in text.lower()
    swapped = list(compose.swapped(["The old doctor has a horse."], words, 30))
    assert any("child" in sentence or "fox" in sentence for sentence in swapped)
    assert all(len(sentence.split()) == 6 for sentence in swapped)


def test_further_texts_hold_nothing_that_is_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {kind: ["dog", "house"] for kind in compose.KINDS}
    monkeypatch.setattr(further, "words_by_kind", lambda *_: words)
    monkeypatch.setattr(further, "TAKEN", {})
    monkeypatch.setattr(further, "COMPOSED", 20)
    monkeypatch.setattr(further, "SWAPPED", 5)
    items = [
        Item("pages", f"page {page}", f"Passage {page} {part} says this. " + "It goes on. " * 40,
             query=f"Heading {page}" if part == 0 else None)
        for page in range(200) for part in range(3)
    ]  # fmt: skip
    items += [Item("ding", f"line {n}", f"The dog saw house number {n}.") for n in range(200)]
    held = [item for item in items if is_held_out(item.group)]
    assert 5 < len(held) < 60
    entries = [
        Entry("Passage 3 0 says this.", "pages", "page 3", held_out=False),
        Entry("The dog saw house number 7.", "ding", "x", held_out=True, query="Heading 11"),
    ]
    further.write(items, tmp_path, entries, tmp_path / "further.jsonl")
    found = further.read(tmp_path / "further.jsonl")
    texts = [line.text for line in found]
    assert len({text.lower() for text in texts}) == len(texts)
    joined = "\n".join(texts)
    for item in held:
        assert item.text.split(" It goes")[0] not in texts
        assert f"Passage {item.group.removeprefix('page ')} " not in joined
    assert not {entry.text for entry in entries} & set(texts)
    assert "Heading 11" not in {line.query for line in found}
    longest = max(texts, key=len)
    assert 200 < len(longest.split()) <= 400
    assert any(line.query and line.query.startswith("Heading") for line in found)


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
    # Like the teacher's order of neighbors is better than unlike it.
    assert losses.neighbors(tight, tight, tight, tight, itself=True) < losses.neighbors(
        one, one, tight, tight, itself=True
    )
    # Documents that would answer as well do not count as negatives.
    assert losses.contrast(tight, tight, apart) < losses.contrast(tight, tight, none)
    grades = torch.tensor([1.0, 0.5, 0.0])
    near = torch.nn.functional.normalize(torch.randn(3, 256), dim=1)
    far = torch.nn.functional.normalize(torch.randn(3, 256), dim=1)
    shares = grades[:, None]
    ordered, reversed_ = near * shares + far * (1 - shares), near * (1 - shares) + far * shares
    assert losses.ranking(near, ordered, grades) < losses.ranking(near, reversed_, grades)
