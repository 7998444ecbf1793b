"""Everyday sentences made of WordNet's words, and sentences with one word put in another's place.

What packages hold is mostly about software. A teacher answers for any sentence, so that the words
of daily life, in the plain sentences in which people use them, may be put together by rule. Some
are improbable; their vectors are right all the same. A sentence and its neighbors differ in one
word or two, which is what a similarity has to see.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mini.items import LEXICOGRAPHER_FILES

LEAST = 12  # times that a word occurs in the corpus, to be used in a sentence
PLACES = ("in the", "near the", "behind the", "on the", "next to the", "in front of the")
NUMBERS = ("two", "three", "several", "many", "a few", "some", "five", "a group of")
KINDS = {  # what a slot may hold -> WordNet's lexicographer files
    "person": ("noun.person",),
    "animal": ("noun.animal",),
    "thing": ("noun.artifact", "noun.food", "noun.object", "noun.plant", "noun.body"),
    "place": ("noun.location", "noun.artifact", "noun.object"),
    "idea": ("noun.act", "noun.event", "noun.cognition", "noun.feeling", "noun.state"),
    "doing": ("verb.motion", "verb.contact", "verb.creation", "verb.consumption", "verb.perception",
              "verb.communication", "verb.social", "verb.possession", "verb.body"),
    "quality": ("adj.all",),
}  # fmt: skip
PATTERNS = (
    "A {person} is {doing:ing} a {thing}.",
    "The {person} is {doing:ing} the {thing} {where} {place}.",
    "A {quality} {animal} is {doing:ing} {where} {place}.",
    "{count} {person:s} are {doing:ing} {where} {place}.",
    "{count} {animal:s} are {doing:ing} with a {thing}.",
    "A {person} and a {person} {doing} a {quality} {thing}.",
    "The {person} {doing:ed} the {quality} {thing}.",
    "A {person} in a {quality} {thing} is {doing:ing} {where} {place}.",
    "A {thing} and a {thing} {where} {quality} {place}.",
    "There is no {person} {doing:ing} a {thing}.",
    "The {quality} {thing} is not {quality}.",
    "How do I {doing} a {quality} {thing}?",
    "What is the best way to {doing} a {thing}?",
    "Why is the {thing} {quality}?",
    "Is it possible to {doing} a {thing} without a {thing}?",
    "I {doing:ed} my {thing} because the {idea} was {quality}.",
    "You should {doing} the {thing} before you {doing} the {thing}.",
    "{person:s} {doing} {thing:s} after {idea} in {place}",
    "{idea} of {person:s} {doing:s} {quality} {idea}",
    "{quality} {idea}: {count} {person:s} {doing:ed} {where} {place}",
    "I don't think that the {person} would {doing} a {quality} {idea}.",
    "The {idea} depends on the {quality} {thing} of the {person}.",
)
_SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")
_WORD = re.compile(r"[a-z]{3,}")


def words_by_kind(wordnet: Path, texts: Iterable[str]) -> dict[str, list[str]]:
    """The words for each slot, those that the texts use often; a word's first synset counts."""
    counts = Counter(word for text in texts for word in _WORD.findall(text.lower()))
    first: dict[tuple[str, str], str] = {}
    for part in ("noun", "verb", "adj"):
        for line in next(wordnet.rglob(f"data.{part}")).read_text(errors="replace").splitlines():
            fields = line.split()
            if line.startswith("  ") or len(fields) < 5 or int(fields[3], 16) < 1:
                continue
            # The first word of a synset is its commonest name.
            word = re.sub(r"\((a|p|ip)\)$", "", fields[4])
            if _WORD.fullmatch(word) and counts[word] >= LEAST:
                first.setdefault((part, word), LEXICOGRAPHER_FILES[int(fields[1])])
    return {
        kind: sorted({word for (_, word), file in first.items() if file in files})
        for kind, files in KINDS.items()
    }


def composed(words: Mapping[str, Sequence[str]], count: int, seed: int = 0) -> Iterator[str]:
    """So many sentences, in pairs that differ in one slot or two."""
    dice = random.Random(seed)
    for _ in range(count // 2):
        pattern = dice.choice(PATTERNS)
        slots = _SLOT.findall(pattern)
        chosen = [_draw(kind, words, dice) for kind, _ in slots]
        yield _fill(pattern, slots, chosen)
        for place in dice.sample(range(len(slots)), min(len(slots), dice.choice((1, 1, 2)))):
            chosen[place] = _draw(slots[place][0], words, dice)
        yield _fill(pattern, slots, chosen)


def swapped(
    sentences: Sequence[str], words: Mapping[str, Sequence[str]], count: int, seed: int = 1
) -> Iterator[str]:
    """Sentences with a word or two replaced by others of their kind, or left out."""
    dice = random.Random(seed)
    kinds: dict[str, list[str]] = {}
    for kind, members in words.items():
        for word in members:
            kinds.setdefault(word, []).append(kind)
    made = 0
    for sentence in _endlessly(sentences, dice):
        pieces = re.findall(r"\w+|\W+", sentence)
        able = [n for n, piece in enumerate(pieces) if piece in kinds]
        if not able:
            continue
        for place in dice.sample(able, min(len(able), dice.choice((1, 1, 2)))):
            pieces[place] = dice.choice(words[dice.choice(kinds[pieces[place]])])
        yield "".join(pieces)
        made += 1
        if made == count:
            return


def _endlessly(sentences: Sequence[str], dice: random.Random) -> Iterator[str]:
    for _ in range(20):  # enough for any count that is asked for
        yield from dice.sample(sentences, len(sentences))


def _draw(kind: str, words: Mapping[str, Sequence[str]], dice: random.Random) -> str:
    fixed = {"count": NUMBERS, "where": PLACES}.get(kind)
    return dice.choice(fixed or words[kind])


def _fill(pattern: str, slots: Sequence[tuple[str, str]], chosen: Sequence[str]) -> str:
    found = [_inflected(word, ending) for (_, ending), word in zip(slots, chosen, strict=True)]
    pieces = iter(found)
    text = _SLOT.sub(lambda _: next(pieces), pattern)
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return text[0].upper() + text[1:]


def _inflected(word: str, ending: str) -> str:
    """English endings by the rules of spelling; irregular forms come out regular."""
    if not ending:
        return word
    if ending == "s":
        if re.search(r"([sxz]|ch|sh)$", word):
            return word + "es"
        return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"
    if word.endswith("e") and not word.endswith(("ee", "oe", "ye")):
        word = word[:-1]
    elif re.fullmatch(r"[^aeiou]*[aeiou][bdgklmnprt]", word):
        word += word[-1]
    elif ending == "ed" and re.search(r"[^aeiou]y$", word):
        word = word[:-1] + "i"
    return word + ending
