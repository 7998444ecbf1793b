"""The 33 queries of docs/search.md: that they can be answered, and how many are."""

import pytest

from bench.questions import run
from bench.questions.corpus import Query, read_queries, write_corpus
from embedge import Embedder, SearchIndex

QUERIES = read_queries()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, pages=False)
    return folder


def test_each_query_has_one_file_that_is_there(folder):
    assert len(QUERIES) == len({query.text for query in QUERIES}) == 33
    for query in QUERIES:
        assert (folder / query.file).is_file(), query


def test_the_log_holds_the_job_once(folder):
    lines = (folder / "files/logs/worker.log").read_text(encoding="utf-8").splitlines()
    assert sum(" job 31337 " in line for line in lines) == 1


def test_pages_of_the_repository_come_along(tmp_path):
    assert write_corpus(tmp_path) > 190
    assert (tmp_path / "pages/README.md").is_file()
    # It quotes the queries.
    assert not (tmp_path / "pages/docs/search.md").exists()


@pytest.mark.filterwarnings("ignore::embedge.LanguageWarning")  # nine queries are not English
def test_how_many_find_the_right_file(folder):
    """Measured: 28 first and 30 among five by both, 27 and 30 by words, 19 and 29 by vectors."""
    with Embedder() as embedder, SearchIndex(None, embedder) as index:
        index.update(folder)
        hybrid, words, vectors = (
            run.ranks(index, folder, QUERIES, mode) for mode in ("hybrid", "words", "vectors")
        )
        nowhere = run.ranks(index, folder, [Query("custard tarts", "files/none")], "hybrid")
    assert hybrid.count(1) >= 26
    assert words.count(1) >= 25
    assert vectors.count(1) >= 17
    assert hybrid.count(1) >= max(words.count(1), vectors.count(1))
    assert sum(place <= run.FIRST_FEW for place in hybrid) >= 28
    assert nowhere == [run.FIRST_FEW + 1]
