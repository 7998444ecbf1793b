"""Sizes in bytes: one reader for Python, the command line and the environment."""

from pathlib import Path

import numpy as np
import pytest

from embedge import Embedder, MemoryLimitError, OptionError
from embedge.cli import main
from embedge.sizes import byte_count, size_text


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (123, 123),
        (1e9, 10**9),
        (np.int64(5), 5),
        (np.float64(5e6), 5_000_000),
        ("123", 123),
        ("123B", 123),
        ("1GB", 10**9),
        ("1 gb", 10**9),
        ("1.5GB", 1_500_000_000),
        ("500MB", 500 * 10**6),
        ("2GiB", 2 * 2**30),
        (" 2g ", 2 * 2**30),
        ("512m", 512 * 2**20),
        ("3kB", 3000),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_sizes_are_read_as_people_write_them(written: object, size: int) -> None:
    assert byte_count(written, "memory_limit") == size


@pytest.mark.parametrize(
    "wrong",
    ["", "much", "GB", "1 iB", "-1GB", "1e9GB", "0", "0GB", "1PB", "\u0661GB", 0, -5, True, 1.5,
     float("nan"), float("inf"), None, [1], "9" * 5000, "9" * 19 + "TB", 2**63],
)  # fmt: skip
def test_what_is_no_size_is_refused(wrong: object) -> None:
    with pytest.raises(OptionError, match="memory_limit is"):
        byte_count(wrong, "memory_limit")


def test_the_embedder_takes_them(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Embedder(pack, memory_limit="1GB") as embedder:
        assert embedder.choices["memory_limit"].value == 10**9
        assert embedder.options["memory_limit"] == "1GB"
    with Embedder(pack, memory_limit=1e9) as embedder:
        assert embedder.choices["memory_limit"].value == 10**9
    monkeypatch.setenv("EMBEDGE_MEMORY_LIMIT", "3MB")
    monkeypatch.setenv("EMBEDGE_TOKEN_BUDGET", "77")
    with Embedder(pack) as embedder:
        assert embedder.choices["memory_limit"].value == 3 * 10**6
        assert embedder.choices["token_budget"].value == 77


def test_a_small_limit_is_shown_in_bytes() -> None:
    from embedge.batches import images_per_run

    with pytest.raises(MemoryLimitError, match=r"about 2\.0 KiB, the limit is 1000 B"):
        images_per_run(1, per_image=2048, memory_limit=1000)
    assert size_text(999) == "999 B"


def test_the_command_line_takes_them(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "t.txt"
    text.write_text("a", encoding="utf-8")
    common = ["-p", str(pack)]
    assert main(["doctor", *common, "--memory-limit", "2GB", "--token-budget", "55"]) in (0, 1)
    shown = capsys.readouterr().out
    assert "1.9 GiB" in shown
    assert "55" in shown
    assert main(["embed", *common, str(text), "--memory-limit", "much"]) == 2
    assert "--memory-limit" in capsys.readouterr().err
