"""Reads texts, query/document pairs and labels out of the unpacked packages.

Each source is a generator of `Item`s.
"""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from lxml import etree, html

from mini.items import LEXICOGRAPHER_FILES, Item

TOPICLESS = frozenset({"adj.all", "adj.pert", "adv.all", "adj.ppl", "noun.Tops"})
DICTIONARIES = {"dict-gcide": "gcide", "dict-foldoc": "foldoc", "dict-jargon": "jargon"}
PAGES = {
    "python3.11-doc": "*.html",
    "postgresql-doc-15": "*.html",
    "sqlite3-doc": "*.html",
    "git-doc": "*.html",
    "libreoffice-help-en-us": "*.html",
    "gimp-help-en": "*.html",
    "debian-handbook": "en-US/*.html",
    "debian-reference-en": "*.html",
    "developers-reference": "*.html",
    "debian-faq": "*.en.html",
    "anarchism": "*.html",
    "gnome-user-docs": "C/*/*.page",
}
LETTERS_LEAST = 0.6  # share of letters and spaces below which a passage is code or a table


def read_all(packages: dict[str, Path]) -> Iterator[Item]:
    """Every item of every source, in a fixed order."""
    yield from wordnet(packages["wordnet-base"])
    yield from debian_packages(packages["lists"])
    for name, file in DICTIONARIES.items():
        yield from dictionary(packages[name], name, file)
    yield from sentences_of_ding(packages["dict-de-en"])
    yield from fortunes(packages["fortunes"])
    for name, pattern in PAGES.items():
        yield from pages(packages[name], name, pattern)
    yield from manuals(packages["perl-doc"])


def wordnet(folder: Path) -> Iterator[Item]:
    """Definitions with their lexicographer file as label, examples, and the words themselves."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in _lines(next(folder.rglob(f"data.{part}"))):
            if line.startswith("  ") or "|" not in line:
                continue
            fields, gloss = line.split("|", 1)
            offset, number, _, count, *rest = fields.split()
            words = [word.replace("_", " ") for word in rest[: int(count, 16) * 2 : 2]]
            words = [re.sub(r"\((a|p|ip)\)$", "", word) for word in words]
            label = LEXICOGRAPHER_FILES[int(number)]
            group = f"{part}-{offset}"
            definition = "; ".join(
                piece for piece in _semicolons(gloss) if not piece.startswith('"')
            )
            listed = ", ".join(words[:3])
            yield Item(
                "wordnet", group, _clean(definition), query=listed,
                label=None if label in TOPICLESS else label,
            )  # fmt: skip
            for example in re.findall(r'"([^"]+)"', gloss):
                yield Item("wordnet-examples", group, _clean(example))
            for word in words:
                yield Item("wordnet-words", group, word)


def debian_packages(folder: Path) -> Iterator[Item]:
    """Synopsis and description of packages, one for each source package, with its section."""
    sections: dict[str, tuple[str, str]] = {}
    for paragraph in _paragraphs(next(folder.glob("*_bookworm_main_binary-*_Packages"))):
        digest = paragraph.get("Description-md5")
        if digest:
            source = paragraph.get("Source", paragraph["Package"]).split()[0]
            sections[digest] = (source, paragraph.get("Section", ""))
    seen: set[str] = set()
    for paragraph in _paragraphs(next(folder.glob("*_bookworm_main_i18n_Translation-en"))):
        source, section = sections.get(paragraph["Description-md5"], ("", ""))
        if not source or section in ("debug", "oldlibs"):
            continue
        synopsis, _, long = paragraph["Description-en"].partition("\n")
        first = [piece for piece in re.split(r"\n \.\n?", long) if piece.strip()]
        body = _clean(" ".join(first[:2]))
        if source in seen:  # further binaries of a source repeat its description
            yield Item("debian-synopses", source, _clean(synopsis))
            continue
        seen.add(source)
        yield Item("debian", source, body, query=_clean(synopsis), label=section)


def dictionary(folder: Path, name: str, file: str) -> Iterator[Item]:
    """Definitions of a dictionary in the format of dictd, its headword as the query."""
    with gzip.open(next(folder.rglob(f"{file}.dict.dz")), "rt", errors="replace") as lines:
        text = lines.read()
    for entry in re.split(r"\n(?=\S)", text):
        headword, _, body = entry.partition("\n")
        if not body.strip():
            continue
        headword = re.split(r"\s*[\\,(]", headword)[0].strip()
        body = re.sub(r"\[[^\]]{0,40}\]|--[A-Z][\w.]+( [A-Z][\w.]+)?|[{}]", " ", body)
        body = re.sub(r"<[^>]{1,40}>|\(\d{4}-\d\d-\d\d\)", " ", body)
        for number, sense in enumerate(
            re.split(r"\n\s*(?:\d+\.|\([a-z]\)|Syn:|Note:)\s|\n\s*\n", body)
        ):
            passage = _clean(sense)
            if len(passage) > 20:
                query = headword if number == 0 and name != "dict-gcide" else None
                yield Item(name, f"{name}-{headword.lower()}", passage, query=query)


def sentences_of_ding(folder: Path) -> Iterator[Item]:
    """The English example sentences of the German-English dictionary Ding."""
    with gzip.open(next(folder.rglob("english-german.dict.dz")), "rt", errors="replace") as lines:
        for line in lines:
            if re.match(r"[A-Z].* .* .*[.?!]$", line) and "[" not in line:
                yield Item("ding", line, _clean(line.split(" / ")[0]))


def fortunes(folder: Path) -> Iterator[Item]:
    """Quotations and jokes; the topical files give a label."""
    for file in sorted((folder / "usr/share/games/fortunes").iterdir()):
        if file.suffix or file.name in ("ascii-art", "translate-me"):
            continue
        for number, quotation in enumerate(re.split(r"\n%\n", _read(file))):
            text = _clean(re.sub(r"\n\s*--.*", "", quotation, flags=re.DOTALL))
            if 20 < len(text) < 500:
                yield Item("fortunes", f"{file.name}-{number}", text, label=file.name)


def pages(folder: Path, name: str, pattern: str) -> Iterator[Item]:
    """Passages of HTML and Mallard pages under the heading that they stand under."""
    for file in sorted(folder.rglob(pattern)):
        try:
            root = html.fromstring(file.read_bytes())
        except (etree.ParserError, ValueError):
            continue
        for useless in root.xpath("//script|//style|//nav|//pre|//table|//info|//header|//footer"):
            useless.drop_tree()
        group = f"{name}/{file.stem}"
        heading: str | None = None
        for element in root.iter("h1", "h2", "h3", "h4", "title", "p", "dd", "li"):
            text = _clean(element.text_content().replace("¶", ""))
            if element.tag in ("h1", "h2", "h3", "h4", "title"):
                heading = re.sub(r"^[\d.]+\s*|^[A-Z]\.\d[\d.]*\s*|\s+[—|].*$", "", text) or None
            elif 40 < len(text) < 2000 and _is_prose(text):
                yield Item(name, group, text, query=heading)
                heading = None  # the first passage answers to the heading


def manuals(folder: Path) -> Iterator[Item]:
    """Passages of Perl's documentation (pod)."""
    for file in sorted(folder.rglob("*.pod")):
        heading: str | None = None
        for paragraph in re.split(r"\n\s*\n", _read(file)):
            if paragraph.startswith("=head"):
                heading = _clean(_pod(paragraph.split(None, 1)[-1]))
            elif not paragraph.startswith(("=", " ", "\t")):
                text = _clean(_pod(paragraph))
                if 40 < len(text) < 2000 and _is_prose(text):
                    yield Item("perl-doc", f"perl/{file.stem}", text, query=heading)
                    heading = None


def _pod(text: str) -> str:
    return re.sub(r"[A-Z]<+\s?([^<>|]*?)(\|[^<>]*)?\s?>+", r"\1", text)


def _is_prose(text: str) -> bool:
    return sum(c.isalpha() or c == " " for c in text) / len(text) > LETTERS_LEAST


def _semicolons(gloss: str) -> list[str]:
    """The parts of a gloss; semicolons inside quotation marks do not part."""
    return [piece.strip() for piece in re.findall(r'(?:"[^"]*"|[^;"])+', gloss) if piece.strip()]


def _clean(text: str) -> str:
    return " ".join(text.split()).strip(" ;")


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        yield from lines


def _paragraphs(file: Path) -> Iterator[dict[str, str]]:
    """The paragraphs of a Debian control file; continuation lines are kept with their breaks."""
    fields: dict[str, str] = {}
    name = ""
    for line in _lines(file):
        if line == "\n":
            if fields:
                yield fields
            fields = {}
        elif line[0] in " \t":
            fields[name] += "\n" + line.rstrip("\n")
        else:
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
    if fields:
        yield fields
