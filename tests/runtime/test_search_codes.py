"""Many passages: the codes choose candidates, the vectors rank them, and the two always agree."""

import dataclasses
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedge import SearchIndex
from embedge.search import blocks, codes, database, hits, nearest
from embedge.search.codes import CodedQuery, Codes
from support.search_cases import Words

WIDTH = 32


def random_vectors(count: int, width: int = WIDTH, *, seed: int = 0) -> Any:
    """Vectors of length 1 around a mean, as those of a model are."""
    rows = np.random.default_rng(seed).standard_normal((count, width)) + 0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


# --- the codes --------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [4, 32, 64, 100, 256])
@pytest.mark.parametrize("counted", [True, False])
def test_products_are_about_those_of_the_vectors(
    monkeypatch: pytest.MonkeyPatch, width: int, counted: bool
) -> None:
    if not counted:  # as with NumPy 1
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    vectors, query = random_vectors(2000, width), random_vectors(1, width, seed=9)[0]
    made = Codes.of(vectors)
    data = made.to_bytes()
    assert len(data) == 8 + 2000 * (16 * -(-width // 64) + 4) + 4 * width
    again = Codes.from_bytes(data, 2000)
    assert again is not None
    estimates, exact = CodedQuery(query).products(again), vectors @ query
    assert np.corrcoef(estimates, exact)[0, 1] > 0.9
    assert abs((estimates - exact).mean()) < 0.01
    assert np.array_equal(estimates, CodedQuery(query).products(made))


def test_the_count_of_bits_is_that_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.random.default_rng(0).integers(0, 2**63, (3, 5), np.uint64) * np.uint64(2)
    expected = [[int(word).bit_count() for word in row] for row in words]
    assert codes._count_bits(words).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert codes._count_bits(words).tolist() == expected


def test_odd_codes() -> None:
    one = random_vectors(1)
    assert CodedQuery(one[0]).products(Codes.of(one)) == pytest.approx(1.0, abs=1e-5)  # the mean
    same = np.repeat(one, 5, axis=0)
    assert CodedQuery(one[0]).products(Codes.of(same)) == pytest.approx(1.0, abs=1e-5)
    made = Codes.of(random_vectors(10))
    chosen = np.arange(10) % 2 == 0
    assert np.array_equal(
        CodedQuery(one[0]).products(made.only(chosen)), CodedQuery(one[0]).products(made)[chosen]
    )
    data = made.to_bytes()
    for count, wrong in ((9, data), (10, data[:-1]), (10, b""), (10, data[:8])):
        assert Codes.from_bytes(wrong, count) is None


# --- in an index ------------------------------------------------------------------------------


class Random(Words):
    """A text "n …" has the n-th of some random vectors, so has a query."""

    rows = random_vectors(4000)
    dimension = WIDTH
    manifest = dataclasses.replace(
        Words.manifest, dimension=WIDTH, matryoshka_dimensions=(16, WIDTH)
    )

    def encode_document(self, texts: Any, **options: Any) -> Any:
        self.calls.append({"texts": list(texts), "kind": "document"})
        return self.rows[[int(text.split()[0]) for text in texts]]

    def encode_query(self, texts: Any, **options: Any) -> Any:
        return self.rows[int(texts.split()[0])]


def record(number: int, **metadata: Any) -> dict[str, Any]:
    return {
        "id": number,
        "text": f"{number} word{number % 7} text",
        "metadata": {"even": number % 2 == 0, "tenth": number % 10, **metadata},
    }


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SYNCHRONOUS", "OFF")
    monkeypatch.setattr(blocks, "BLOCK", 128)
    monkeypatch.setattr(nearest, "EXACT", 500)
    monkeypatch.setattr(nearest, "CANDIDATES", 300)
    monkeypatch.setattr(nearest, "SAMPLE", 1000)
    monkeypatch.setattr(nearest, "FEW", 150)
    monkeypatch.setattr(nearest, "SPARE", 5)
    monkeypatch.setattr(hits, "DEPTH", 100)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("made") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "SYNCHRONOUS", "OFF")
        patch.setattr(blocks, "BLOCK", 128)
        with SearchIndex(path, Random()) as index:
            index.add(record(number) for number in range(2000))
    return path.read_bytes()


@pytest.fixture
def index(place: Path, made: bytes) -> Iterator[SearchIndex]:
    place.write_bytes(made)
    with SearchIndex(place, Random()) as index:
        yield index


def exactly(index: SearchIndex, query: str, **options: Any) -> Any:
    """What a search finds that compares every vector."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "EXACT", 10**9)
        return index.search(query, **options)


def check_codes(place: Path) -> None:
    """Every vector in the file has its code, and no other has one."""
    connection = sqlite3.connect(place)
    vectors = dict(connection.execute("SELECT id, vector FROM vectors"))
    seen: set[int] = set()
    for (block,) in connection.execute("SELECT block FROM codes").fetchall():
        held = blocks._read(connection, block)
        assert held is not None
        assert seen.isdisjoint(held.ids.tolist())
        seen.update(held.ids.tolist())
        rows = np.stack([np.frombuffer(vectors[int(i)], "<f4") for i in held.ids])
        estimates = CodedQuery(Random.rows[5]).products(held.codes)
        assert np.abs(estimates - rows @ Random.rows[5]).max() < 0.35
        assert np.abs(estimates - rows @ Random.rows[5]).mean() < 0.08
    assert seen == vectors.keys()
    connection.close()


OPTIONS: list[dict[str, Any]] = [
    {},
    {"where": {"even": True}},  # walks further down
    {"where": {"tenth": 3}},  # lists them
    {"where": {"tenth": [3, 4], "even": True}},
    {"where": {"tenth": 11}},
    {"kind": "image"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_best_are_those_of_an_exact_search(index: SearchIndex, options: Any) -> None:
    found = total = 0
    for number in range(0, 400, 20):
        query = f"{number} nothing"
        best = index.search(query, top_k=10, mode="vectors", **options)
        right = exactly(index, query, top_k=10, mode="vectors", **options)
        scores = {hit.id: hit.score for hit in right}
        found += sum(hit.id in scores for hit in best)
        total += len(right)
        assert len(best) == len(right)
        assert all(hit.score == scores.get(hit.id, hit.score) for hit in best)  # to the bit
        order = [(-hit.score, str(hit.id)) for hit in best]
        assert order == sorted(order)
        hybrid = index.search(f"{number} word3", top_k=5, **options)
        assert [hit.id for hit in hybrid[:1]] == [
            hit.id for hit in exactly(index, f"{number} word3", top_k=5, **options)[:1]
        ]
    assert found >= 0.99 * total


def test_the_codes_are_used_only_above_the_bound(
    index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    real = nearest._products

    def count(vectors: Any, query: Any) -> Any:
        compared.append(len(vectors))
        return real(vectors, query)

    monkeypatch.setattr(nearest, "_products", count)
    index.search("5", mode="vectors")
    assert sum(compared) == 300
    compared.clear()
    monkeypatch.setattr(nearest, "EXACT", 2000)
    index.search("5", mode="vectors")
    assert sum(compared) == 2000
    assert index._codes._held == {}  # nothing is held that is not used
    monkeypatch.setattr(nearest, "EXACT", 500)
    assert len(index.search("5", mode="vectors", top_k=1500)) == 1500


def test_fit_is_about_that_of_all_vectors(index: SearchIndex) -> None:
    for options in ({}, {"where": {"even": True}}, {"where": {"tenth": 3}}):
        for query in ("7 word1", "8 word5 more"):
            right = {hit.id: hit.fit for hit in exactly(index, query, top_k=20, **options)}
            best = index.search(query, top_k=20, **options)
            again = index.search(query, top_k=20, **options)
            assert [hit.fit for hit in best] == [hit.fit for hit in again]
            pairs = [(hit.fit, right[hit.id]) for hit in best if hit.id in right]
            assert len(pairs) > 15
            for fit, expected in pairs:
                assert fit == pytest.approx(expected, abs=0.35)


def test_codes_follow_what_changes(index: SearchIndex, place: Path) -> None:
    check_codes(place)
    assert index.search("5", mode="vectors")[0].id == 5
    index.remove([5, *range(1000, 1300), *range(0, 2000, 3)])
    check_codes(place)
    best = index.search("5", mode="vectors", top_k=200)
    assert best[0].id != 5
    assert all(hit.id % 3 and not 1000 <= hit.id < 1300 for hit in best)
    index.add([{"id": "new", "text": "5 again"}])  # takes an id that was free
    assert index.search("5", mode="vectors")[0].id == "new"
    check_codes(place)
    with SearchIndex(place, Random()) as other:  # another connection, whose changes are seen
        other.remove(["new"])
        other.add([record(3001)])
    assert index.search("5", mode="vectors")[0].id != "new"
    assert index.search("3001", mode="vectors")[0].id == 3001
    check_codes(place)
    index.remove(index.ids())
    check_codes(place)


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE codes SET data = zeroblob(length(data)) WHERE block = 2",
        "UPDATE codes SET data = 'text' WHERE block = 2",
        "UPDATE codes SET offsets = x'0000' WHERE block = 2",
        "UPDATE codes SET checksum = 'x' WHERE block = 2",
        "DELETE FROM codes WHERE block = 2",
        "DELETE FROM codes WHERE block IN (1, 2, 15)",
        "UPDATE codes SET block = 10000 WHERE block = 2",
    ],
)
def test_a_damaged_block_is_made_again(index: SearchIndex, place: Path, attack: str) -> None:
    right = index.search("300 word1", top_k=10)
    connection = sqlite3.connect(place)
    connection.execute(attack)
    connection.commit()
    connection.close()
    assert index.search("300 word1", top_k=10) == right  # it holds what it has read
    with SearchIndex(place, Random()) as again:
        assert again.search("300 word1", top_k=10) == right
        assert again.search("300 word1", top_k=10) == right
        assert again._codes.damaged == set()
    check_codes(place)


def test_a_damaged_vector_is_noticed_when_it_is_looked_at(index: SearchIndex, place: Path) -> None:
    connection = sqlite3.connect(place)
    row = "(SELECT passage FROM places JOIN files ON id = file WHERE path = x'0035')"
    connection.execute(f"UPDATE vectors SET checksum = 0 WHERE id = {row}")
    connection.commit()
    connection.close()
    with pytest.raises(database.IndexFileError, match="add the records 5 again"):
        index.search("5", mode="vectors")
    assert index.search("5", mode="vectors")[0].id != 5
    index.add([record(5)])
    assert index.search("5", mode="vectors")[0].id == 5
    check_codes(place)


def test_a_transaction_that_fails_leaves_the_codes(index: SearchIndex, place: Path) -> None:
    before = index.search("5", mode="vectors", top_k=20)

    def stop(values: Any) -> Any:
        raise RuntimeError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("embedge.search.store.records.put_beside", lambda *_: stop(0))
        with pytest.raises(RuntimeError):
            index.add([record(3000)])
    assert index.search("5", mode="vectors", top_k=20) == before
    check_codes(place)


def test_one_adds_while_another_searches(index: SearchIndex, place: Path) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with SearchIndex(place, Random()) as own:
                for number in range(2000, 2600, 60):
                    own.add(record(n) for n in range(number, number + 60))
        except BaseException as error:
            errors.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        assert index.search("5", mode="vectors")[0].id == 5
    worker.join()
    assert errors == []
    assert index.search("2599", mode="vectors")[0].id == 2599
    check_codes(place)


def test_files_have_codes_too(place: Path, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for number in range(600):
        (tmp_path / "docs" / f"{number}.txt").write_text(f"{number} text")
    with SearchIndex(place, Random()) as index:
        index.update(tmp_path / "docs")
        (hit, *_) = index.search("77", mode="vectors", path=tmp_path / "docs")
        assert hit.path == tmp_path / "docs" / "77.txt"
        for number in range(0, 600, 2):
            (tmp_path / "docs" / f"{number}.txt").unlink()
        (tmp_path / "docs" / "1.txt").write_text("601 text")
        index.update(tmp_path / "docs")
    check_codes(place)
