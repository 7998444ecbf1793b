"""Patterns of .gitignore: the rules of gitignore(5), and Git itself as the judge."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedge.files.folders import walk
from embedge.files.patterns import Patterns, ignores_above


@pytest.mark.parametrize(
    ("pattern", "path", "taken"),
    [
        ("a.txt", "a.txt", True),
        ("a.txt", "x/a.txt", True),
        ("/a.txt", "x/a.txt", False),
        ("x/a.txt", "x/a.txt", True),
        ("x/a.txt", "y/x/a.txt", False),
        ("*.log", "x/y/z.log", True),
        ("x/*", "x/a", True),
        ("x/*", "x/y/a", True),  # y is taken
        ("x/*.c", "x/y/a.c", False),
        ("x/**/a", "x/a", True),
        ("x/**/a", "x/y/z/a", True),
        ("**/x/a", "y/x/a", True),
        ("x/**", "x/y/a", True),
        ("x/**", "x", False),
        ("x/", "x/a", True),
        ("x/", "x", False),  # a file
        ("x", "x/y/a", True),
        ("?.txt", "a.txt", True),
        ("[ab].txt", "b.txt", True),
        ("[!ab].txt", "b.txt", False),
        ("[^ab].txt", "c.txt", True),
        ("# a", "# a", False),
        (r"\# a", "# a", True),
        (r"\!a", "!a", True),
        (r"a\*", "a*", True),
        (r"a\*", "ab", False),
        ("a  ", "a", True),
        (r"a\ ", "a ", True),
        ("", "a", False),
        ("/", "a", False),
        ("//", "a", False),
        ("a//b", "a/b", False),
        ("caf\u00e9", "caf\u00e9", True),
    ],
)
def test_a_pattern(pattern: str, path: str, taken: bool) -> None:
    assert Patterns([pattern]).covers(path.split("/")) is taken


def test_later_patterns_come_first() -> None:
    patterns = Patterns(["*.log", "!keep.log", "", "# note"])
    assert patterns.covers(["a.log"])
    assert not patterns.covers(["keep.log"])
    assert Patterns(["!a"]).verdict(["a"], folder=False) is False
    assert not Patterns(["", "#"])


def test_a_hostile_pattern_takes_no_time() -> None:
    start = time.perf_counter()
    patterns = Patterns(["*a" * 100 + "b", "**/" * 200 + "b"])
    assert not patterns.covers(["a" * 250] * 50)
    assert time.perf_counter() - start < 2


def listed(root: Path) -> list[str]:
    found = walk(root, refuse=lambda *_: None, gitignore=True)
    return [file.path.relative_to(root).as_posix() for file in found]


def lay(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


TREE = {
    ".gitignore": "*.log\n/out/\n!sub/keep.log\n",
    "a.log": "",
    "a.txt": "",
    "out/x": "",
    "sub/out/x": "",
    "sub/keep.log": "",
    "sub/.gitignore": "*.txt\n!b.txt\n",
    "sub/a.txt": "",
    "sub/b.txt": "",
}


def test_a_walk_respects_every_gitignore(tmp_path: Path) -> None:
    lay(tmp_path, TREE)
    assert listed(tmp_path) == ["a.txt", "sub/b.txt", "sub/keep.log", "sub/out/x"]
    # From within: those above count in a repository alone.
    assert listed(tmp_path / "sub") == ["b.txt", "keep.log", "out/x"]
    lay(tmp_path, {"sub/c.log": ""})
    assert "c.log" in listed(tmp_path / "sub")
    (tmp_path / ".git").mkdir()
    assert "c.log" not in listed(tmp_path / "sub")
    assert len(ignores_above(tmp_path / "sub")) == 1
    assert listed(tmp_path / "a.log") == ["."]  # named by the user


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("kind", ["pipe", "folder", "large", "bytes", "link"])
def test_a_gitignore_that_is_none(tmp_path: Path, kind: str) -> None:
    lay(tmp_path, {"a.txt": ""})
    place = tmp_path / ".gitignore"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "large":
        place.write_bytes(b"a.txt\n" * 2**18)
    elif kind == "bytes":
        place.write_bytes(b"\xff\xfe\x00\n[\n")
    else:
        place.symlink_to("/dev/zero")
    assert listed(tmp_path) == ["a.txt"]


NAMES = st.sampled_from(["a", "b", "ab", "a.b"])
PATTERNS = st.lists(st.text("ab.*?/!\\ #[]^-", min_size=1, max_size=8), max_size=4)


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
@settings(max_examples=25, deadline=None)
@given(PATTERNS, st.sets(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=6))
def test_git_thinks_the_same(
    tmp_path_factory: pytest.TempPathFactory, patterns: list[str], paths: set[str]
) -> None:
    root = tmp_path_factory.mktemp("git")
    files = sorted(p for p in paths if not any(other.startswith(p + "/") for other in paths))
    lay(root, {".gitignore": "\n".join(patterns), **dict.fromkeys(files, "")})
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", "-C", str(root), "-c", "core.excludesFile="]
    subprocess.run([*command, "init", "-q"], check=True, env=environment)
    shown = subprocess.run(
        [*command, "ls-files", "-z", "--others", "--exclude-standard"],
        check=True, capture_output=True, text=True, env=environment,
    ).stdout  # fmt: skip
    expected = sorted(set(shown.split("\0")) - {"", ".gitignore"})
    assert sorted(listed(root)) == expected
