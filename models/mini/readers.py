"""Reads the packages that only further texts are taken from, beside those of the corpus."""

import re
from collections.abc import Iterator
from pathlib import Path

from mini.items import Item
from mini.texts import dictionary, pages, read_all

PAGES = {  # package -> which files, as in `texts.PAGES`
    "apache2-doc": "manual/en/**/*.html",
    "python-django-doc": "html/[!_]*/**/*.html",
    "debian-edu-doc-en": "*manual.html",
    "maint-guide": "*.en.html",
    "rust-doc": "html/[bcer][!o]*/**/*.html",  # books; not what is generated from code
}


def read_further(packages: dict[str, Path]) -> Iterator[Item]:
    """Every item of the corpus's sources and of those beside them, in a fixed order."""
    yield from read_all(packages)
    for name, pattern in PAGES.items():
        yield from pages(packages[name], name, pattern)
    yield from dictionary(packages["dict-devil"], "dict-devil", "devil")
    yield from _plain(packages)


def _plain(packages: dict[str, Path]) -> Iterator[Item]:
    """Facts, conversations, speeches, a novel; a group is a paragraph or a conversation."""
    facts = next(packages["randfacts"].rglob("safe.txt")).read_text(encoding="utf-8")
    for line in facts.splitlines():
        yield Item("plain", line, " ".join(line.split()))
    for file in sorted(packages["chatterbot-corpus"].rglob("data/english/*.yml")):
        for line in file.read_text(encoding="utf-8").splitlines():
            said = re.sub(r"^[\s-]+", "", line).strip(" '\"")
            if line.startswith(("- ", "  - ")) and len(said) > 8:
                yield Item("plain", said, said)
    for name in ("sotu", "moby-dick"):
        for file in sorted(packages[name].rglob("data/*.txt")):
            text = file.read_text(encoding="utf-8", errors="replace")
            for number, paragraph in enumerate(re.split(r"\n\s*\n|\s{3,}", text)):
                if len(paragraph) > 40:
                    yield Item("plain", f"{name}/{file.stem}/{number}", " ".join(paragraph.split()))
