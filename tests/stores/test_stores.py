"""The examples find what an exact search of float32 vectors finds, or as much of it as they say."""

import json
import subprocess
import sys

import numpy as np
import pytest

from embedge import quantize
from stores.conftest import EXAMPLES, STORES, load

TOP_K = 10
QUESTIONS = 200
# Of the ten best documents of an exact search in float32, the least share found by each kind.
# Measured on 2026-11-27 with Python 3.11.7; docs/stores.md has the figures.
LEAST = {
    "float32": 1.0,
    "float16": 0.99,
    "uint8": 0.95,
    "int8": 0.95,
    "uint8, rescored": 0.999,
    "bits": 0.45,
    "bits, rescored": 0.90,
}
every_store = pytest.mark.parametrize("store", STORES)


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_every_example_runs_as_it_is(name):
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert name in STORES
    assert "The spare key is under the third flower pot." in done.stdout
    if name != "in_pgvector":
        kinds = [line.partition(": ") for line in done.stdout.splitlines()]
        assert {answer for _, _, answer in kinds} == {
            "The spare key is under the third flower pot."
        }


@every_store
def test_each_kind_finds_what_it_should(make, embedder, corpus, store):
    documents = [document for _, document in corpus]
    questions = [question for question, _ in corpus[:: len(corpus) // QUESTIONS]]
    notes = make()
    notes.add(documents, topic="python")
    scores = embedder.encode_query(questions) @ embedder.encode_document(documents).T
    best = [{documents[place] for place in row} for row in np.argsort(-scores)[:, :TOP_K]]
    figures = {}
    for kind in notes.kinds:
        found = [notes.search(question, kind=kind, top_k=TOP_K) for question in questions]
        shares = [len(set(a) & b) / TOP_K for a, b in zip(found, best, strict=True)]
        figures[kind] = float(np.mean(shares))
    print(json.dumps({store: figures}))
    for kind, figure in figures.items():
        assert figure >= LEAST[kind], (kind, figure)


class Apart:
    """An embedder whose query "3" is the vector of the document "4"."""

    dimension = 8

    def encode_document(self, texts):
        return np.eye(self.dimension, dtype=np.float32)[[int(text) for text in texts]]

    def encode_query(self, text):
        return np.eye(self.dimension, dtype=np.float32)[int(text) + 1]


@every_store
def test_a_query_is_embedded_as_a_query(make, store):
    notes = make(Apart())
    notes.add(list("01234567"), topic="numbers")
    for kind in notes.kinds:
        assert notes.search("3", kind=kind, top_k=1) == ["4"]


@every_store
def test_a_topic_is_searched_alone(make, store):
    notes = make()
    notes.add(
        ["The spare key is under the pot.", "The front door sticks in winter."], topic="house"
    )
    notes.add(["Water the tomatoes.", "It is the garden's key plant."], topic="it's a garden")
    for kind in notes.kinds:
        assert len(notes.search("Where is the key?", kind=kind, top_k=4)) == 4
        found = notes.search("Where is the key?", kind=kind, topic="it's a garden", top_k=4)
        assert sorted(found) == ["It is the garden's key plant.", "Water the tomatoes."]


def test_one_range_for_all_dimensions_ranks_better(embedder, corpus):
    """And uint8 serves a distance, not a dot product: the second table of docs/stores.md."""
    documents = embedder.encode_document([document for _, document in corpus])
    queries = embedder.encode_query([question for question, _ in corpus[::4]])
    best = np.argsort(-(queries @ documents.T))[:, :TOP_K]
    alike = np.full((2, embedder.dimension), [[-0.5], [0.5]], np.float32)
    apart = np.stack([documents.min(axis=0), documents.max(axis=0)])
    figures = {}
    for name, ranges in (("one range", alike), ("each its own", apart)):
        for kind in ("int8", "uint8"):
            d, q = (quantize(x, kind, ranges=ranges).astype(float) for x in (documents, queries))
            by = {"dot": q @ d.T, "euclidean": 2 * q @ d.T - np.square(d).sum(axis=1)}
            for metric, scores in by.items():
                found = np.argsort(-scores)[:, :TOP_K]
                shares = [len({*a} & {*b}) / TOP_K for a, b in zip(found, best, strict=True)]
                figures[name, kind, metric] = float(np.mean(shares))
    print({" ".join(key): round(figure, 3) for key, figure in figures.items()})
    assert (
        min(figures["one range", "int8", "dot"], figures["one range", "uint8", "euclidean"]) > 0.95
    )
    assert figures["each its own", "int8", "dot"] < 0.85
    assert figures["one range", "uint8", "dot"] < 0.5


def test_lines_for_postgres_are_read_back():
    example = load("in_pgvector")
    text = "a tab\t, two\r\nlines, a back\\slash, \\n and N: \\N"
    vector = np.array([1.5e-8, -0.25, 1 / 3, 0.0], np.float32)
    [line] = example.copy_lines([(text, "topic", vector)])
    assert "\n" not in line
    assert line.split("\t")[2:] == ["[1.5e-08,-0.25,0.33333334,0.0]"] * 2 + ["1010"]
    read, topic, numbers = example.read_line(line)
    assert (read, topic) == (text, "topic")
    assert numbers.tobytes() == vector.tobytes()


@pytest.mark.parametrize("store", ["in_pgvector"])
def test_postgres_keeps_what_was_written(make, embedder, store):
    texts = ["a tab\t and a line\n", "\\N", "ordinary"]
    notes = make()
    notes.add(texts, topic="t")
    rows = notes._connection.execute(
        "SELECT text, float32::text, bits::text FROM notes ORDER BY id"
    )
    for (text, numbers, bits), given, vector in zip(
        rows.fetchall(), texts, embedder.encode_document(texts), strict=True
    ):
        assert text == given
        assert np.array(json.loads(numbers), np.float32).tobytes() == vector.tobytes()
        assert (
            np.packbits([int(bit) for bit in bits]).tobytes() == np.packbits(vector > 0).tobytes()
        )
