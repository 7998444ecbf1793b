"""The training of embedge-mini: its network, its losses, its interruptions, its checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertModel

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
    shrink,
    targets,
    vocabulary,
)
from mini.corpus import Entry
from mini.items import Item, is_held_out
from mini.material import Material, Pair
from mini.network import ADAPTED, Encoder, Shape
from mini.teacher import WINDOW, Teacher
from seeded import write_bert

TEXTS = [
    f"{kind} number {number} is {word}"
    for kind in ("house", "dog", "tree", "river")
    for number in range(12)
    for word in ("red", "old", "far away", "small and green")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("teacher") / "bert")


@pytest.fixture(scope="module")
def teacher(folder: Path) -> Teacher:
    network = shrink.read_teacher(folder)
    generator = torch.Generator().manual_seed(2)
    matrix = torch.linalg.qr(torch.randn(network.shape.hidden, 32, generator=generator))[0]
    return Teacher(network, matrix)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return vocabulary.plain(folder / "tokenizer.json")


def new(teacher: Teacher, layers: int = 2) -> Encoder:
    torch.manual_seed(1)
    size = teacher.network.shape
    shape = Shape(size.vocab, 32, layers, 48, size.hidden, size.heads, size.positions, size.types)
    return Encoder(shape)


def test_the_network_is_bert_as_transformers_has_it(folder: Path, teacher: Teacher) -> None:
    network = BertModel.from_pretrained(
        str(folder), add_pooling_layer=False, dtype=torch.float32
    ).eval()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, teacher.network.shape.vocab, (5, 11), generator=generator)
    lengths = torch.tensor([11, 3, 7, 1, 10])
    mask = (torch.arange(11)[None] < lengths[:, None]).long()
    with torch.inference_mode():
        states = network(input_ids=ids, attention_mask=mask).last_hidden_state
        rows = teacher.network.rows(ids, lengths)
    torch.testing.assert_close(rows[mask.bool()], states[mask.bool()], atol=1e-5, rtol=1e-5)
    mean = torch.stack([states[row, :length].mean(0) for row, length in enumerate(lengths)])
    torch.testing.assert_close(teacher.network.pool(rows, lengths), mean, atol=1e-5, rtol=1e-5)


class StoppedError(Exception):
    """Stands for a kill."""


def lessons_of(texts: list[str], teacher: Teacher, tokenizer: Tokenizer) -> distill.Lessons:
    return distill.Lessons(batches.tokenize(tokenizer, texts), teacher)


def test_an_interrupted_base_goes_on_as_if_nothing_had_been(
    tokenizer: Tokenizer, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill, "BATCH", 32)
    monkeypatch.setattr(distill, "SAVE_EVERY", 0)
    lessons = lessons_of(TEXTS, teacher, tokenizer)
    budget = descent.Budget(steps=16)  # two epochs and more
    whole, parted = new(teacher), new(teacher)
    distill.train(whole, lessons, tmp_path / "whole.pt", budget=budget)
    left = [10]

    def kill(_: torch.nn.Module) -> str:
        left[0] -= 1
        if left[0] == 0:
            raise StoppedError
        return ""

    with pytest.raises(StoppedError):
        distill.train(parted, lessons, tmp_path / "parted.pt", budget=budget, watch=kill)
    again = new(teacher)
    distill.train(again, lessons, tmp_path / "parted.pt", budget=budget)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    # It learnt: nearer to the teacher than the student that it began as.
    rows = lessons.tokens.batch(np.arange(len(TEXTS)))
    wanted = lessons.wanted(np.arange(len(TEXTS)))
    with torch.inference_mode():
        before, after = (losses.nearness(net(*rows), wanted) for net in (new(teacher), again))
    assert after < 0.8 * before


def test_a_budget_of_seconds_ends_and_counts_what_an_earlier_run_spent(
    tokenizer: Tokenizer, teacher: Teacher, tmp_path: Path
) -> None:
    lessons = lessons_of(TEXTS, teacher, tokenizer)
    file = tmp_path / "base.pt"
    distill.train(new(teacher), lessons, file, budget=descent.Budget(seconds=0.5))
    first = torch.load(file)
    assert first["seconds"] >= 0.5
    distill.train(new(teacher), lessons, file, budget=descent.Budget(seconds=0.5))
    assert torch.load(file)["done"] == first["done"]
    assert descent.Budget(steps=8, seconds=4).spent(2, 3) == 0.75


def test_an_adapter_learns_alone_and_goes_on_after_a_stop(
    tokenizer: Tokenizer, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapt, "SAVE_EVERY", 0)
    base = new(teacher)
    lessons = lessons_of(TEXTS, teacher, tokenizer)
    tokens, wanted = lessons.tokens, lessons.wanted(np.arange(len(TEXTS)))
    stop_at = [4]

    def draw(student: Encoder, generator: np.random.Generator) -> torch.Tensor:
        stop_at[0] -= 1
        if stop_at[0] == 0:
            raise StoppedError
        rows = generator.integers(len(TEXTS), size=16)
        return losses.nearness(student(*tokens.batch(rows)), wanted[rows])

    def run(name: str) -> dict[str, torch.Tensor]:
        adapt.adapt(base, draw, tmp_path / name, budget=descent.Budget(steps=6), name=name)
        return dict(torch.load(tmp_path / name))

    with pytest.raises(StoppedError):
        run("parted.pt")
    again, whole = run("parted.pt"), run("whole.pt")
    assert set(again) == set(whole)
    assert len(again) == 2 * 6 * ADAPTED  # A and B of six matrices in the last layers
    for name, matrix in whole.items():
        assert matrix.abs().max() > 0
        torch.testing.assert_close(matrix, again[name], atol=1e-5, rtol=1e-4)


def test_a_kept_adapter_leaves_general_texts_nearer_to_the_base(
    tokenizer: Tokenizer, teacher: Teacher, tmp_path: Path
) -> None:
    base = new(teacher).requires_grad_(False)
    lessons = lessons_of(TEXTS, teacher, tokenizer)
    material = Material([], [], lessons, base)
    own, others = material.stored(np.arange(48)), material.stored(np.arange(96, 192))
    wanted = lessons.wanted(np.arange(48))

    def moved(keep: float) -> float:
        def draw(student: Encoder, _: np.random.Generator) -> torch.Tensor:
            return losses.nearness(own.vectors(student, np.arange(48)), wanted)

        def general(student: Encoder, _: np.random.Generator) -> torch.Tensor:
            return losses.nearness(others.vectors(student, np.arange(96)), others.own)

        file = tmp_path / f"{keep}.pt"
        budget = descent.Budget(steps=40)
        adapt.adapt(base, objectives.both(draw, general, keep), file, budget=budget, name="task")
        student = new(teacher)
        student.add_adapters(adapt.RANK)
        student.load_state_dict({**student.state_dict(), **torch.load(file)})
        return float(general(student, np.random.default_rng(0)).detach())

    assert moved(4.0) < 0.5 * moved(0.0)


def test_stored_states_give_what_the_whole_network_gives(
    tokenizer: Tokenizer, teacher: Teacher
) -> None:
    base = new(teacher)
    lessons = lessons_of([*TEXTS[::7], "one more", " ".join(TEXTS[:9])], teacher, tokenizer)
    stored = Material([], [], lessons, base).stored(np.array([5, 0, 28, 29, 3]))
    numbers = np.array([3, 1, 4, 0, 0, 2])
    ids = lessons.tokens.batch(np.array([29, 0, 3, 5, 5, 28]))
    wanted = losses.unit(base(*ids))
    found = losses.unit(stored.vectors(base, numbers))
    assert ((found * wanted).sum(1) > 0.999).all()  # states are kept in bfloat16
    assert ((stored.own[numbers] * wanted).sum(1) > 0.999).all()


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
    tokenizer: Tokenizer, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
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
    material = Material(entries, pairs, lessons_of(texts, teacher, tokenizer), new(teacher))
    for name, objective in objectives.OBJECTIVES.items():
        student = new(teacher)
        learning = student.add_adapters(4)
        loss = objective(material)(student, np.random.default_rng(0))
        loss.backward()
        assert torch.isfinite(loss), name
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in learning), name


def test_a_long_text_keeps_its_end_and_is_taught_in_windows(
    tokenizer: Tokenizer, teacher: Teacher
) -> None:
    long = " ".join(TEXTS)
    tokens = batches.tokenize(tokenizer, [long, TEXTS[0], "", " ".join(TEXTS[:24])])
    assert tokens.lengths[0] == batches.TOKENS_MOST
    ids, lengths = tokens.batch(np.arange(4))
    begin, end = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    assert all(ids[row, length - 1] == end for row, length in enumerate(lengths.tolist()))
    assert not any(ids[row, length:].any() for row, length in enumerate(lengths.tolist()))
    lesson = teacher.teach(ids, lengths)
    inner = ids.shape[1] - 2
    size = -(-inner // -(-inner // WINDOW))
    for row, length in enumerate(lengths.tolist()):  # one window after the other, alone
        parts = ids[row, 1 : length - 1].split(size) if length > 2 else [ids[row, 1:1]]
        mean = torch.zeros(1, teacher.network.shape.hidden)
        rows = []
        for part in parts:
            window = torch.tensor([[begin, *part.tolist(), end]])
            within = torch.tensor([window.shape[1]])
            found = teacher.network.rows(window, within)
            mean += losses.unit(teacher.network.pool(found, within)) * max(1, len(part))
            rows.append(found[0, 1:-1])
        wanted = losses.unit(mean @ teacher.matrix)[0]
        assert lesson.vectors[row] @ wanted > 0.999  # it runs in bfloat16
        near = torch.cosine_similarity(lesson.rows[row, 1 : length - 1], torch.cat(rows))
        assert length == 2 or near.min() > 0.99


def test_pieces_that_are_cut_out_are_spelled_and_nothing_new_is_unknown(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    texts = [*TEXTS, "the quick brown fox", "Q: 42?"]
    size = tokenizer.get_vocab_size() - 40
    kept = vocabulary.chosen(texts, tokenizer, size=size)
    assert len(kept) == size
    vocabulary.write(folder / "tokenizer.json", kept, tmp_path / "tokenizer.json")
    smaller = vocabulary.plain(tmp_path / "tokenizer.json")
    assert smaller.get_vocab_size() == size
    names = {number: piece for piece, number in tokenizer.get_vocab().items()}
    for text in [*texts, "universal constants fly past", "日本語"]:
        ours, theirs = smaller.encode(text), tokenizer.encode(text)
        assert ours.tokens.count("[UNK]") == theirs.tokens.count("[UNK]")
        assert [names[int(kept[number])] for number in ours.ids] == ours.tokens
    assert smaller.encode(TEXTS[0]).tokens == tokenizer.encode(TEXTS[0]).tokens


def test_a_student_cut_out_of_the_teacher_is_the_nearer_the_more_it_keeps(
    teacher: Teacher, tokenizer: Tokenizer
) -> None:
    network = teacher.network
    matrix = teacher.matrix.numpy()
    tokens = batches.tokenize(tokenizer, [" ".join(TEXTS[n : n + 3]) for n in range(len(TEXTS))])
    batch = tokens.batch(np.arange(0, len(TEXTS), 2))
    held, lengths = tokens.batch(np.arange(1, len(TEXTS), 2))
    wanted = losses.unit(network(held, lengths) @ teacher.matrix)

    def near(layers: int, neurons: int, spans: list[tuple[int, int]]) -> float:
        size = network.shape
        shape = Shape(
            size.vocab, 32, layers, neurons, size.hidden, size.heads, size.positions, size.types
        )
        student = shrink.shrink(network, shape, spans, matrix, [batch])
        with torch.inference_mode():
            return float((losses.unit(student(held, lengths)) * wanted).sum(1).mean())

    whole = [(1, 1), (2, 2), (3, 3)]
    full, half, few = (near(3, count, whole) for count in (256, 128, 16))
    assert full > 0.99
    assert full > half > few
    assert near(2, 128, [(1, 1), (3, 3)]) > 0.5


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


def test_the_checkpoint_exports_to_what_was_trained(
    folder: Path, teacher: Teacher, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    student = new(teacher, layers=3)
    generator = torch.Generator().manual_seed(3)
    weights = {name: value.bfloat16().float() for name, value in student.state_dict().items()}
    adapted = new(teacher, layers=3)
    adapted.add_adapters(adapt.RANK)
    matrices = {
        name: (0.05 * torch.randn(value.shape, generator=generator)).bfloat16().float()
        for name, value in adapted.state_dict().items()
        if ".lora_" in name
    }
    adapters = {"retrieval": matrices, "text-matching": {n: 0 * m for n, m in matrices.items()}}
    checkpoint.write(
        tmp_path / "model", student.shape, weights, adapters, folder / "tokenizer.json",
        "---\nlicense: apache-2.0\n---\n",
    )  # fmt: skip
    export_pack(tmp_path / "model", out=tmp_path / "pack", precisions=["fp32"])

    student.load_state_dict(weights)
    adapted.load_state_dict({**weights, **matrices})
    rows = batches.tokenize(tokenizer, TEXTS[:9]).batch(np.arange(9))
    with Embedder(tmp_path / "pack") as embedder, torch.inference_mode():
        for task, network in (("text-matching", student), ("retrieval", adapted)):
            for encode in (embedder.encode_query, embedder.encode_document):
                theirs = losses.unit(network(*rows)).numpy()
                np.testing.assert_allclose(encode(TEXTS[:9], task=task), theirs, atol=2e-5)
        change = losses.unit(adapted(*rows)) - losses.unit(student(*rows))
        assert change.abs().max() > 0.01


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
