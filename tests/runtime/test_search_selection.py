"""Which files a search reads: what .gitignore names or a tool made stays out, unless asked."""

from pathlib import Path
from typing import Any

import pytest

from embedge import OptionError, SearchIndex
from embedge.search import Hit, selection
from support.search_cases import Words, lay

DATA = b"word " * (selection.MOST_DATA_BYTES // 5 + 1)
FILES: dict[str, bytes | None] = {
    ".gitignore": b"/private/\n*.tmp\n",
    "README.md": b"read me first",
    "code.py": b"code here",
    "small.json": b"a small file",
    "large.json": DATA,
    "large.txt": b"word. " * 100,
    "server.log": DATA,
    "server.log.1": DATA,
    "package-lock.json": b"locked",
    "app.min.js": b"minified",
    "draft.tmp": b"a draft",
    "private/letter.txt": b"a letter",
    "build/made.txt": b"made here",
    "docs/guide.md": b"a guide",
}
USUAL = {"README.md", "code.py", "small.json", "large.txt", "docs/guide.md"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedge.search.database.SYNCHRONOUS", "OFF")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay(tmp_path / "docs", FILES)


def names(hits: list[Hit], folder: Path) -> set[str]:
    places = [place for hit in hits for place in ((hit.path, hit.line), *hit.also)]
    return {path.relative_to(folder).as_posix() for path, _ in places}


def found(index: SearchIndex, folder: Path, **options: Any) -> set[str]:
    return names(index.search("word", top_k=10_000, **options), folder)


def test_generated_files_are_left_out_with_a_reason(folder: Path) -> None:
    with SearchIndex(None, Words()) as index:
        report = index.update(folder)
        assert found(index, folder) == USUAL
        assert report.refused == ()
        assert {path.name: reason for path, reason in report.left_out} == {
            "large.json": "data of more than 256 KiB",
            "server.log": "a log of more than 256 KiB",
            "server.log.1": "a log of more than 256 KiB",
            "package-lock.json": "a lock file",
            "app.min.js": "minified code",
        }
        report = index.update(folder, everything=True)
        assert report.left_out == ()
        assert found(index, folder) == set(FILES) - {".gitignore"}
        report = index.update(folder)
        assert (report.removed, report.unchanged) == (3, 5)  # the drafts and what was built
        assert found(index, folder) == USUAL


def test_a_file_that_is_named_is_read(folder: Path) -> None:
    with SearchIndex(None, Words()) as index:
        for name in ("package-lock.json", "private/letter.txt", "draft.tmp"):
            assert index.update(folder / name).added == 1


def test_patterns_choose_and_leave_the_others_as_they_are(folder: Path) -> None:
    with SearchIndex(None, Words()) as index:
        index.update(folder)
        report = index.update(folder, include=["*.lock", "*-lock.json", "docs/"])
        assert (report.added, report.removed, report.left_out) == (1, 0, ())
        assert found(index, folder) == USUAL | {"package-lock.json"}
        chosen = found(index, folder, include=["docs/", "*.json"], path=folder)
        assert chosen == {"docs/guide.md", "small.json", "package-lock.json"}
        assert found(index, folder, include=["/code.py"]) == set()  # from the root of all
        assert found(index, folder, include=["code.py"]) == {"code.py"}
        without = {"exclude": ["docs", "*.json"], "path": folder}
        assert found(index, folder, **without) == {"README.md", "code.py", "large.txt"}
        assert index.count(folder, include=["docs/"]) == (1, 1)
        lay(folder, {"docs/guide.md": None, "code.py": None})
        assert index.update(folder, exclude=["*.py"]).removed == 1
        assert "code.py" in found(index, folder)
        assert found(index, folder, exclude=["*"]) == set()


def test_likely_files_come_first(folder: Path) -> None:
    embedder = Words()
    with SearchIndex(None, embedder) as index:
        index.update(folder)
    assert embedder.embedded[:2] == ["read me first", "a guide"]
    assert embedder.embedded[-1] == "a small file"


@pytest.mark.parametrize("value", ["*.md", [""], [3], [" "]])
def test_bad_patterns(folder: Path, value: Any) -> None:
    with SearchIndex(None, Words()) as index:
        for name in ("include", "exclude"):
            with pytest.raises(OptionError, match=f"{name} is .*a list of patterns"):
                index.update(folder, **{name: value})
            with pytest.raises(OptionError, match=f"{name} is .*a list of patterns"):
                index.search("x", **{name: value})
        with pytest.raises(OptionError, match="everything"):
            index.update(folder, everything="yes")
