"""The examples that read the parts of `embedge bulk` find what an exact search finds."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import psycopg
import pytest

from embedge.cli import main
from stores.conftest import EXAMPLES, load

PARTS = EXAMPLES.parent / "parts"
KEY = "The spare key is under the third flower pot."
QUERY = "Where is the spare key?"


def example(name: str) -> ModuleType:
    return load(f"../parts/{name}")


@pytest.fixture(scope="module")
def run(tmp_path_factory, corpus) -> Path:
    """Parts of 600 documents, the key, an odd text, and two rows without a vector."""
    folder = tmp_path_factory.mktemp("run")
    texts = [None, *(document for _, document in corpus[:600]), KEY, None, "a\ttab \\N\r\nline"]
    source = folder / "notes.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    command = ["bulk", str(source), "--out", str(folder / "vectors"), "--rows", "100"]
    assert main([*command, "--task", "retrieval", "--prompt-name", "document", "-q"]) == 0
    return folder / "vectors"


def test_duckdb(run, embedder):
    found = example("in_duckdb").search(run, embedder, QUERY, top_k=5)
    assert found[0][0] == KEY
    assert len(found) == 5
    cosine = embedder.encode_query(QUERY) @ embedder.encode_document(KEY)
    assert found[0][1] == pytest.approx(cosine, abs=1e-5)


def test_faiss(run, embedder, corpus):
    faiss = example("in_faiss")
    index = faiss.build(run, embedder.dimension)
    assert index.ntotal == 602
    documents = [document for _, document in corpus[:600]]
    questions = [question for question, _ in corpus[:50]]
    queries = embedder.encode_query(questions)
    best = np.argmax(queries @ embedder.encode_document(documents).T, axis=1)
    _, numbers = index.search(queries, 1)
    found = [faiss.text_of(run, number) for number in numbers[:, 0]]
    assert found == [documents[place] for place in best]


def test_usearch(run, embedder, corpus, tmp_path):
    usearch = example("in_usearch")
    index = usearch.build(run, embedder.dimension)
    assert len(index) == 602
    documents = [document for _, document in corpus[:600]]
    questions = [question for question, _ in corpus[:50]]
    queries = embedder.encode_query(questions)
    best = np.argmax(queries @ embedder.encode_document(documents).T, axis=1)
    exact = index.search(queries, 1, exact=True)
    found = [usearch.text_of(run, int(number)) for number in exact.keys[:, 0]]
    assert found == [documents[place] for place in best]
    near = index.search(queries, 1)
    assert np.mean(near.keys[:, 0] == exact.keys[:, 0]) >= 0.95
    index.save(tmp_path / "notes.usearch")
    again = usearch.Index.restore(tmp_path / "notes.usearch", view=True)
    assert again.search(queries, 1).keys.tolist() == near.keys.tolist()


def test_pgvector(run, embedder, server):
    postgres = example("to_pgvector")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS notes")
        connection.execute(postgres.table_sql(postgres.width_of(run)))
        with connection.cursor().copy(postgres.COPY.removesuffix(";")) as copy:
            for line in postgres.lines(run):
                copy.write(f"{line}\n")
        (count,) = connection.execute("SELECT count(*) FROM notes").fetchone()
        assert count == 602
        query = str(embedder.encode_query(QUERY).tolist())
        (found,) = connection.execute(postgres.SEARCH, (query, 1)).fetchone()
        assert found == KEY
        odd = "SELECT count(*) FROM notes WHERE text = %s"
        assert connection.execute(odd, ("a\ttab \\N\r\nline",)).fetchone() == (1,)
        connection.execute("DROP TABLE notes")


@pytest.mark.parametrize("name", ["in_duckdb", "in_faiss", "in_usearch", "to_pgvector"])
def test_every_example_runs_as_it_is(run, name):
    words = [str(run)] if name == "to_pgvector" else [str(run), QUERY]
    command = [sys.executable, str(PARTS / f"{name}.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert KEY in done.stdout
