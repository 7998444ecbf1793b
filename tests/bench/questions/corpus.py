"""The folder that the 33 queries are asked about, and the queries.

Takes an empty folder and fills it. Files that are not beside this module are the demo's collection,
pages of this repository as they are, and what a few lines make: a long log, and lists of the names
of characters, which answer no query.
"""

import csv
import shutil
import unicodedata
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
COLLECTION = ROOT / "models" / "demo" / "collection"
# docs/search.md is left out: it speaks of this experiment.
PAGES = ("docs/*.md", "*.md", "LICENSE", "models/README.md", "examples/*.py")
JOBS = range(30_200, 31_700)
LISTS = 12
NAMES = 64  # characters of a list


class Query(NamedTuple):
    """What is asked, and the one file that answers it."""

    text: str
    file: str  # below the folder, with /


def read_queries() -> list[Query]:
    """The 33 queries."""
    with (HERE / "queries.tsv").open(encoding="utf-8", newline="") as file:
        return [Query(*row) for row in csv.reader(file, delimiter="\t")]


def write_corpus(folder: Path, *, pages: bool = True) -> int:
    """Fills a folder, and gives the number of its files.

    Without the repository's own pages, it is always the same.
    """
    shutil.copytree(COLLECTION, folder / "collection")
    shutil.copytree(HERE / "files", folder / "files")
    for pattern in PAGES if pages else ():
        for path in sorted(ROOT.glob(pattern)):
            if path.name != "search.md":
                copy = folder / "pages" / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
    (folder / "files/logs/worker.log").write_text(_log(), encoding="utf-8")
    lists = folder / "lists"
    lists.mkdir()
    for number in range(LISTS):
        start = 0x2190 + number * NAMES  # arrows, mathematics, technical signs, shapes, …
        text = "\n".join(
            f"U+{code:04X}  {unicodedata.name(chr(code), '').lower()}"
            for code in range(start, start + NAMES)
        )
        (lists / f"{start:04x}.txt").write_text(text + "\n", encoding="utf-8")
    return sum(path.is_file() for path in folder.rglob("*"))


def _log() -> str:
    """A log of jobs, a line each."""
    kinds = ("resize image", "send mail", "render page", "import file", "clean cache")
    return "".join(
        f"12:{job // 60 % 60:02}:{job % 60:02} worker {job % 4} job {job} "
        f"{kinds[job * 7 % 5]}, {job * 31 % 900 + 20} ms\n"
        for job in JOBS
    )
