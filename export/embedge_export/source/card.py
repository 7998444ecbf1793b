"""A model card, README.md: the license and the name that a model gives itself.

Takes the file, gives the plain lines of its front matter and what they say. Knows no other file.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from embedge.pack.checks import is_language
from embedge_export.reading.files import read_text_file
from embedge_export.source.hub import REPOSITORY
from embedge_export.source.overrides import plain_name

_LANGUAGE = "language"
_MOST_LANGUAGES = 1000


def read_card(path: Path) -> dict[str, str]:
    """The `key: value` lines of a model card's YAML front matter; nested ones are left out.

    The list of languages is one line here, with commas.
    """
    try:
        lines = read_text_file(path).splitlines()
    except OSError:
        return {}
    if not lines or lines[0].strip() != "---":
        return {}
    card: dict[str, str] = {}
    key = ""
    for line in lines[1:]:
        if line.strip() == "---":
            return card
        if key.strip() == _LANGUAGE and line.lstrip().startswith("- "):
            card[_LANGUAGE] += f",{line.lstrip()[2:]}"
            continue
        key, colon, value = line.partition(":")
        if colon and not key.startswith((" ", "-", "#", "\t")):
            card[key.strip()] = value.split(" #")[0].strip().strip("\"'")
    return {}  # never closed: a text that begins with a rule, not front matter


def licenses(cards: Iterable[Mapping[str, str]]) -> str | None:
    """The license that each card names, joined where they differ; None if none does."""
    names = dict.fromkeys(name for card in cards if (name := _license(card)) is not None)
    return plain_name(" and ".join(names)) or None


def languages_of(card: Mapping[str, str]) -> tuple[str, ...]:
    """The codes of the languages that a card names; what is no code is left out."""
    words = (word.strip(" \"'") for word in card.get(_LANGUAGE, "").strip("[]").split(","))
    return tuple(dict.fromkeys(word for word in words if is_language(word)))[:_MOST_LANGUAGES]


def own_name(config: Mapping[str, Any], card: Mapping[str, str]) -> str | None:
    """A hub id that a local folder gives itself; paths of the machine that saved it are none."""
    for name in (config.get("_name_or_path"), card.get("model_name")):
        if isinstance(name, str) and REPOSITORY.fullmatch(name):
            return name
    return None


def _license(card: Mapping[str, str]) -> str | None:
    name = plain_name(card.get("license", ""))
    if name == "other":
        name = plain_name(card.get("license_name", "")) or name
    # Nothing, YAML's words for it, and the signs of a text or list on the lines below.
    return None if name in ("", "null", "~", "|", ">", "[]") else name.strip("[]")
