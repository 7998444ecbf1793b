"""Words beside vectors: what stands there is found, and the words are whole or not used."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from embedge import OptionError, SearchIndex
from embedge.errors import IndexFileError
from embedge.search import words
from embedge.search.fusion import fuse
from embedge.search.terms import MOST_TERMS, indexed_text, query_terms
from support.search_cases import Words, content, lay

FILES: dict[str, bytes | None] = {
    # Vectors tell the lengths of the first four words: these two are far from "custard tarts".
    "lisbon.txt": b"a b c d The best custard tarts are in Belem",
    "leave.txt": b"e f g h Sick leave is paid for six weeks",
    "near.txt": b"charter tents",
    "many.txt": b"many other words of many lengths stand here",
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedge.search.database.SYNCHRONOUS", "OFF")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay(tmp_path / "docs", FILES)


@pytest.fixture
def without_fts5(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(words, "available", lambda: False)
    return monkeypatch


def names(hits: list[Any]) -> list[str]:
    return [hit.path.name for hit in hits]


def words_are_whole(path: Path) -> bool:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (5,)
    found = connection.execute("SELECT value FROM meaning WHERE name = 'words'").fetchall()
    connection.close()
    return found == [("whole",)]


# --- what is found ----------------------------------------------------------------------------


def test_words_that_stand_there_are_found_and_marked(folder: Path) -> None:
    with SearchIndex(None, Words()) as index:
        index.update(folder)
        by_vectors = index.search("custard tarts", mode="vectors")
        assert by_vectors[0].path.name == "near.txt"
        assert names(by_vectors)[-1] == "lisbon.txt" or names(by_vectors)[-2] == "lisbon.txt"
        assert all(hit.words == () for hit in by_vectors)
        (hit,) = index.search("custard tarts", mode="words")
        assert (hit.path.name, hit.words) == ("lisbon.txt", ("custard", "tarts"))
        both = index.search("custard tarts")
        assert [(hit.path.name, hit.words) for hit in both[:2]] == [
            ("lisbon.txt", ("custard", "tarts")),
            ("near.txt", ()),
        ]
        # The score is the cosine in every mode.
        scores = {hit.path.name: hit.score for hit in by_vectors}
        assert all(hit.score == scores[hit.path.name] for hit in [*both, hit])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("CUSTARD", ["lisbon.txt"]),
        ("a tart in Bélem?", ["lisbon.txt"]),  # endings and accents
        ("when am I on sick leave", ["leave.txt"]),
        ("the", ["leave.txt", "lisbon.txt"]),  # nothing but a stop word: then it counts
        ('"custard" OR NEAR(tarts', ["lisbon.txt"]),  # FTS5's own syntax means nothing
        ("text:custard", ["lisbon.txt"]),
        ("^custard*", ["lisbon.txt"]),
        ("cust", []),
        ("nowhere", []),
        ("?! -- ''", []),
        ("custard\0tarts", ["lisbon.txt"]),
    ],
)
def test_queries_of_words(folder: Path, query: str, found: list[str]) -> None:
    with SearchIndex(None, Words()) as index:
        index.update(lay(folder, {"leave.txt": b"Sick leave is paid for by the office"}))
        assert sorted(names(index.search(query, mode="words"))) == found
        assert len(index.search(query)) == 4


LANGUAGES: dict[str, bytes | None] = {
    "ja.txt": "東京都に住んでいます。猫が好きです".encode(),
    "zh.txt": "我在北京大学学习数学".encode(),
    "ko.txt": "도서관에서 책을 읽어요".encode(),
    "th.txt": "ฉันชอบกินข้าวผัดที่กรุงเทพ".encode(),
    "hi.txt": "मुझे किताबें पढ़ना पसंद है".encode(),
    "ru.txt": "Срок расторжения договора аренды".encode(),
    "de.txt": "Die Kündigungsfrist beträgt drei Monate".encode(),
}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("東京", "ja.txt"),
        ("好き", "ja.txt"),
        ("猫", "ja.txt"),  # one character
        ("数学", "zh.txt"),
        ("学", "zh.txt"),
        ("도서관", "ko.txt"),  # there with a particle
        ("ข้าวผัด", "th.txt"),
        ("กิน", "th.txt"),
        ("किताबें", "hi.txt"),
        ("договора", "ru.txt"),
        ("kundigungsfrist", "de.txt"),
        ("\uff2d\uff2f\uff2e\uff21\uff34\uff25", "de.txt"),  # MONATE in wide letters
    ],
)
def test_other_scripts(tmp_path: Path, query: str, found: str) -> None:
    with SearchIndex(None, Words()) as index:
        index.update(lay(tmp_path / "docs", LANGUAGES))
        assert names(index.search(query, mode="words")) == [found]


def test_terms() -> None:
    assert indexed_text("plain ASCII") == "plain ASCII"
    assert [term.word for term in query_terms("Who is who in Tokyo, tokyo 東京都?")] == [
        *("Tokyo", "東京", "京都")
    ]
    assert len(query_terms(" ".join(map(str, range(10_000))))) == MOST_TERMS
    assert query_terms("?!") == []


def test_one_rare_word_beats_many_common_ones(tmp_path: Path) -> None:
    """Though the vectors of all are equal, and every other passage has one of the words too."""
    lay(tmp_path / "docs", {f"{n}.txt": f"job {n} done".encode() for n in range(1000, 2200)})
    with SearchIndex(None, Words()) as index:
        index.update(tmp_path / "docs")
        (hit, second) = index.search("job 2117", top_k=2)
        assert (hit.path.name, hit.words) == ("2117.txt", ("job", "2117"))
        assert second.words == ("job",)
        every = index.search("job 2117 " + "x " * 5000, top_k=5000)
        assert len(every) == 1200
        assert all("job" in hit.words for hit in every)
        for mode in ("hybrid", "words"):
            best = index.search("job 2117", top_k=900, mode=mode)
            for count in (1, 10, 700):
                assert index.search("job 2117", top_k=count, mode=mode) == best[:count]


def test_fusion() -> None:
    assert fuse([1, 2, 3], []) == [1, 2, 3]
    assert fuse([], [1, 2, 3]) == [1, 2, 3]
    assert fuse([1, 2], [3, 2])[0] == 2
    assert fuse([1], [2]) == [1, 2]


# --- whole, or not used -----------------------------------------------------------------------


def test_without_fts5_vectors_are_searched(
    tmp_path: Path, folder: Path, without_fts5: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "index"
    with SearchIndex(place, Words()) as index:
        index.update(folder)
        with pytest.warns(UserWarning, match="vectors alone: .* built without FTS5"):
            hits = index.search("custard tarts")
        assert hits == index.search("custard tarts", mode="vectors")
        with pytest.raises(OptionError, match=r'mode="words" cannot .* without FTS5'):
            index.search("custard tarts", mode="words")
    assert not words_are_whole(place)
    without_fts5.undo()
    with SearchIndex(place, Words()) as index:  # by another Python
        index.update(folder)
        assert names(index.search("custard tarts", mode="words")) == ["lisbon.txt"]


def test_what_a_python_without_fts5_changes_is_looked_up_again(
    tmp_path: Path, folder: Path, without_fts5: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "index"
    with without_fts5.context() as patch:
        patch.setattr(words, "available", lambda: True)
        with SearchIndex(place, Words()) as index:
            index.update(folder)
    assert words_are_whole(place)
    with SearchIndex(place, Words()) as index:
        index.update(folder)
        assert words_are_whole(place)  # nothing changed
        lay(folder, {"lisbon.txt": None, "porto.txt": b"Porto has custard tarts too"})
        index.update(folder)
    assert not words_are_whole(place)
    without_fts5.undo()
    with SearchIndex(place, Words()) as index:
        index.update(folder)
        assert names(index.search("custard tarts", mode="words")) == ["porto.txt"]


def test_words_of_what_is_gone_are_gone(tmp_path: Path, folder: Path) -> None:
    place = tmp_path / "index"
    with SearchIndex(place, Words()) as index:
        index.update(folder)
        lay(folder, dict.fromkeys(FILES) | {"new.txt": b"something else"})
        index.update(folder)
        assert index.search("custard sick charter", mode="words") == []
    connection = sqlite3.connect(place)
    assert connection.execute("SELECT count(*) FROM words_docsize").fetchone() == (1,)
    connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")
    connection.close()


def test_a_damaged_text_that_is_swept_away_leaves_no_words(tmp_path: Path, folder: Path) -> None:
    place = tmp_path / "index"
    with SearchIndex(place, Words()) as index:
        index.update(folder)
    connection = sqlite3.connect(place)
    connection.execute("UPDATE passages SET text = 'other' WHERE text LIKE '%custard%'")
    connection.commit()
    connection.close()
    with SearchIndex(place, Words()) as index:
        lay(folder, {"lisbon.txt": None, "porto.txt": b"Porto is on the Douro"})
        index.update(folder)
        assert names(index.search("custard tarts other", mode="words")) == ["many.txt"]
        assert names(index.search("Douro", mode="words")) == ["porto.txt"]
        assert "porto.txt" not in names(index.search("custard", mode="words"))


@pytest.mark.parametrize(
    "attack",
    [
        "DROP TABLE words",
        "DELETE FROM words_config",
        "CREATE TABLE words_more (x)",
        "UPDATE words_data SET block = x'ff00ff00ff'",
        "DELETE FROM words_data",
        "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'porter ', '') "
        "WHERE name = 'words'",
    ],
)
def test_damaged_words_are_an_index_error_and_made_again(
    tmp_path: Path, folder: Path, attack: str
) -> None:
    place = tmp_path / "index"
    with SearchIndex(place, Words()) as index:
        index.update(folder)
        right = index.search("custard tarts")
    connection = sqlite3.connect(place)
    connection.executescript(attack)
    connection.close()

    def use() -> list[Any]:
        with SearchIndex(place, Words()) as index:
            index.update(folder)
            return index.search("custard tarts")

    try:
        assert use() == right
    except IndexFileError as error:
        assert "--rebuild" in str(error)  # noqa: PT017
    SearchIndex(place, Words(), rebuild=True).close()
    assert use() == right
    content(place)


def test_modes_are_checked(folder: Path) -> None:
    with SearchIndex(None, Words()) as index, pytest.raises(OptionError, match="mode"):
        index.search("x", mode="text")
