"""A passage that cannot be embedded costs itself: its file and its folder are found without it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from embedge import Embedder, SearchIndex
from support.search_cases import lay
from support.tiny import edit_manifest

BAD = "a line with <eos> in it"  # token 257, and the network has 257 rows
PART = "word " * 60


@pytest.fixture
def pack(make_pack: Callable[..., Path]) -> Path:
    folder = make_pack(max_length=4096)
    edit_manifest(folder, lambda root: root["text"].update(vocabulary_size=257))
    return folder


def test_an_update_goes_on_without_it(pack: Path, tmp_path: Path) -> None:
    docs = lay(
        tmp_path / "docs",
        {
            "good.txt": b"good words",
            "mixed.txt": f"{PART}\n\n{BAD} {PART}\n\n{PART}end".encode(),
            "only.txt": BAD.encode(),
        },
    )
    with Embedder(pack) as embedder, SearchIndex(tmp_path / "i.sqlite", embedder) as index:
        report = index.update(docs)
        assert [(path.name, reason[:7]) for path, reason in report.refused] == [
            ("mixed.txt", "line 3:"),
            ("only.txt", "line 1:"),
        ]
        assert "gives the token '<eos>'" in report.refused[0][1]
        hits = index.search("words", top_k=9)
        assert sorted({hit.path.name for hit in hits}) == ["good.txt", "mixed.txt"]
        assert sorted(hit.line for hit in hits if hit.path.name == "mixed.txt") == [1, 5]
        assert index.update(docs).updated == 0
    # Another file with the same passage, later: the reason is found again.
    (docs / "later.txt").write_text(BAD)
    with Embedder(pack) as embedder, SearchIndex(tmp_path / "i.sqlite", embedder) as index:
        assert "later.txt" in {path.name for path, _ in index.update(docs).refused}
