"""What is read of a source, and which groups of it are held out of all training.

An item's `group` names the document that it comes from (a package, a page, a synset): held-out
sets are cut by group, so that no page stands on both sides.
"""

import hashlib
from dataclasses import dataclass

HELD_OUT = 0.06  # share of the groups: whole pages, packages, synsets
# The 45 lexicographer files of WordNet; adjectives and adverbs (0-2, 44) carry no topic.
LEXICOGRAPHER_FILES = [
    "adj.all",
    "adj.pert",
    "adv.all",
    "noun.Tops",
    "noun.act",
    "noun.animal",
    "noun.artifact",
    "noun.attribute",
    "noun.body",
    "noun.cognition",
    "noun.communication",
    "noun.event",
    "noun.feeling",
    "noun.food",
    "noun.group",
    "noun.location",
    "noun.motive",
    "noun.object",
    "noun.person",
    "noun.phenomenon",
    "noun.plant",
    "noun.possession",
    "noun.process",
    "noun.quantity",
    "noun.relation",
    "noun.shape",
    "noun.state",
    "noun.substance",
    "noun.time",
    "verb.body",
    "verb.change",
    "verb.cognition",
    "verb.communication",
    "verb.competition",
    "verb.consumption",
    "verb.contact",
    "verb.creation",
    "verb.emotion",
    "verb.motion",
    "verb.perception",
    "verb.possession",
    "verb.social",
    "verb.stative",
    "verb.weather",
    "adj.ppl",
]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing read: a text, or a pair of query and document, or a text with a label."""

    source: str
    group: str
    text: str
    query: str | None = None
    label: str | None = None


def is_held_out(group: str) -> bool:
    """Whether a group belongs to the evaluation alone."""
    return fraction(f"held out {group}") < HELD_OUT


def fraction(key: str) -> float:
    """A number from 0 to 1 that looks random and depends on the key alone."""
    digest = hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48
