"""Whether a hit fits: it stands out among all passages, or holds the words; else that is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedge import SearchIndex
from embedge.cli import main
from embedge.search.fit import FEWEST, Spread, fit
from support.search_cases import Words

ROW = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
ROW /= np.linalg.norm(ROW, axis=1, keepdims=True)


class Random(Words):
    """Vectors that say nothing, but of a text with "near", whose vector is the query's."""

    manifest = Words.manifest

    def encode_document(self, texts: Any, **options: Any) -> Any:
        super().encode_document(texts, **options)
        return np.stack([ROW[0] if "near" in text else ROW[int(text.split()[0])] for text in texts])

    def encode_query(self, texts: Any, **options: Any) -> Any:
        return ROW[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    for number in range(1, FEWEST + 100):
        (tmp_path / "docs" / f"{number}.txt").write_text(f"{number} some words")
    return tmp_path / "docs"


def test_a_spread() -> None:
    values = np.random.default_rng(1).standard_normal(1000)
    spread = Spread.of(1000, float(values.sum()), float((values**2).sum()))
    assert spread.mean == pytest.approx(values.mean())
    assert spread.deviation == pytest.approx(values.std())
    assert Spread.of(0, 0.0, 0.0) == Spread(0, 0.0, 0.0)


def test_fit() -> None:
    spread = Spread(1000, 0.1, 0.1)
    assert fit(0.6, Spread(FEWEST - 1, 0.1, 0.1), 1.0) is None
    assert fit(0.6, Spread(1000, 0.1, 0.0), 1.0) is None  # all alike
    low, high, worded = fit(0.3, spread, 0.0), fit(0.6, spread, 0.0), fit(0.3, spread, 1.0)
    assert low is not None
    assert high is not None
    assert worded is not None
    assert low < 0 < high
    assert worded == pytest.approx(low + 3)
    many, more = fit(0.5, Spread(10**4, 0.1, 0.1), 0.0), fit(0.5, Spread(10**6, 0.1, 0.1), 0.0)
    assert many == more  # beyond what was measured, the bound stays


def test_hits_know_whether_they_fit(folder: Path) -> None:
    with SearchIndex(None, Random()) as index:
        index.update(folder)
        hits = index.search("swordfish")
        assert len(hits) == 5
        assert all(hit.fit is not None and hit.fit < 0 for hit in hits)
        (best, *_) = index.search("some words 77")  # it is the only one with all of them
        assert best.path.name == "77.txt"
        assert best.fit is not None
        for mode in ("vectors", "words"):
            assert all(hit.fit is None for hit in index.search("some words", mode=mode))
        assert all(hit.fit is None for hit in index.search("?!"))
        (folder / "a.txt").write_text("near")
        index.update(folder)
        (best, *_) = index.search("swordfish")
        assert best.path.name == "a.txt"
        assert best.fit is not None
        assert best.fit > 0
        assert all(hit.fit is None for hit in index.search("x", path=folder / "a.txt"))


def test_the_command_says_when_nothing_fits(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("embedge.cli.arguments.open_embedder", lambda options: Random())
    hint = "no passage matches well; these are only the nearest ones"
    assert main(["search", "swordfish", str(folder), "--no-index"]) == 0
    assert hint in capsys.readouterr().err
    (folder / "a.txt").write_text("near")
    assert main(["search", "swordfish", str(folder), "--no-index", "--json"]) == 0
    captured = capsys.readouterr()
    assert hint not in captured.err
    assert '"fit":' in captured.out
