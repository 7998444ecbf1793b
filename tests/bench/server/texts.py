"""Mixed short texts, as clients send them: questions, sentences, words, of many languages."""

import random

from bench.fidelity.corpus_texts import ENGLISH, LANGUAGES, WORDS

SEED = 7


def short_texts(count: int) -> list[str]:
    """So many texts, no two the same, so that nothing is gained by remembering answers."""
    generator = random.Random(SEED)
    kinds = (*ENGLISH, *ENGLISH, *LANGUAGES, *WORDS)
    return [f"{generator.choice(kinds)} {number}" for number in range(count)]
