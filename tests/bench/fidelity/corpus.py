"""The fidelity corpus: some 260 texts of all kinds, the same in every run.

Gives `(kind, text)` pairs: the written ones of `corpus_texts.py`, and what a seeded generator makes
of them. Many languages and scripts, code, numbers, one word, emoji, repetition, noise, and texts
of up to about 2,000 tokens. Knows no model and no tokenizer, so lengths are set in characters.
"""

import random
from collections.abc import Callable, Iterator

from bench.fidelity.corpus_texts import CODE, DATA, EDGES, ENGLISH, LANGUAGES, SYMBOLS, WORDS

SEED = 20
_BLOCKS = (  # first and last code points that noise is drawn from
    (0x21, 0x7E), (0xC0, 0x24F), (0x391, 0x3C9), (0x410, 0x44F), (0x5D0, 0x5EA), (0x621, 0x64A),
    (0x905, 0x939), (0xE01, 0xE2E), (0x3041, 0x3096), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3),
    (0x2190, 0x22FF), (0x1F300, 0x1F64F),
)  # fmt: skip
_WHO = ("The clerk", "A sailor", "My aunt", "Their engineer", "The board", "A stray dog", "Nobody")
_DID = ("lost", "repaired", "described", "painted", "sold", "measured", "forgot", "copied")
_WHAT = ("an old clock", "the northern bridge", "two letters", "a jar of plums", "the third valve")
_WHEN = ("in March", "after the flood", "before anyone noticed", "at half past nine", "for a week")


def corpus() -> list[tuple[str, str]]:
    """All texts with their kind, in a fixed order."""
    written = {
        "word": WORDS,
        "english": ENGLISH,
        "languages": LANGUAGES,
        "code": CODE,
        "data": DATA,
        "symbols": SYMBOLS,
        "edges": EDGES,
    }
    texts = [(kind, text) for kind, group in written.items() for text in group]
    generator = random.Random(SEED)
    texts += [("numbers", text) for text in _numbers(generator)]
    texts += [("repetition", text) for text in _repetition()]
    texts += [("noise", text) for text in _noise(generator)]
    texts += [("long", text) for text in _long(generator)]
    return texts


def _numbers(generator: random.Random) -> Iterator[str]:
    yield "3.14159 2.71828 1.41421 0.57721 6.02214e23 -273.15"
    yield "7"
    yield "Invoice 2024-0173: 1,299.00 EUR, due within 30 days."
    yield "192.168.0.1 fe80::1 00:1a:2b:3c:4d:5e +47 22 12 34 56"
    for digits in (1, 4, 12, 40):
        yield str(generator.randrange(10 ** (digits - 1), 10**digits))
    for count in (3, 20, 60):
        yield " ".join(str(generator.randrange(1000)) for _ in range(count))
        yield "; ".join(f"{generator.uniform(-50, 50):.3f}" for _ in range(count))
    yield generator.randbytes(32).hex()
    yield "\n".join(
        f"{generator.randrange(1, 29):02}.{month:02}.2024  {generator.uniform(1, 999):8.2f} EUR"
        for month in range(1, 13)
    )


def _repetition() -> Iterator[str]:
    for count in (2, 16, 200):
        yield "the " * count
        yield "ab" * count
        yield "数" * count
        yield "no! " * count
    yield (ENGLISH[1] + " ") * 8
    yield (CODE[0] + "\n\n") * 6


def _noise(generator: random.Random) -> Iterator[str]:
    for block in _BLOCKS:
        yield "".join(chr(generator.randint(*block)) for _ in range(40))
    for length in (5, 60, 300):
        blocks = [generator.choice(_BLOCKS) for _ in range(length)]
        yield "".join(chr(generator.randint(*block)) for block in blocks)


def _long(generator: random.Random) -> Iterator[str]:
    """From some 60 to about 2,000 tokens; those in other scripts have more tokens a character."""
    for characters in (250, 500, 1000, 2000, 4000, 8000):
        yield _fill(characters, lambda: _sentence(generator), " ")
    for characters in (200, 400, 800):
        yield _fill(characters, lambda: generator.choice(LANGUAGES), " ")
    for characters in (500, 1500, 5000):
        yield _fill(characters, lambda: generator.choice((*CODE, *DATA)), "\n\n")
    mixed = (*ENGLISH, *LANGUAGES, *CODE, *DATA, *SYMBOLS)
    for characters in (500, 1500, 3500):
        yield _fill(characters, lambda: generator.choice(mixed), "\n")
    for start in (53, 57, 64):  # one script throughout
        yield LANGUAGES[start] * 6


def _fill(characters: int, piece: Callable[[], str], joint: str) -> str:
    parts: list[str] = []
    while sum(len(part) + len(joint) for part in parts) < characters:
        parts.append(piece())
    return joint.join(parts)


def _sentence(generator: random.Random) -> str:
    if generator.random() < 0.3:
        return generator.choice(ENGLISH)
    who, did, what, when = (generator.choice(words) for words in (_WHO, _DID, _WHAT, _WHEN))
    return f"{who} {did} {what} {when}."
