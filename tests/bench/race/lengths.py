"""Where the lengths of the two streams in `work.py` come from: prose, counted by a real tokenizer.

The prose is that of the Python language reference, which every Python carries (its `help()` shows
it): whole paragraphs of two sentences or more, and the sentences of all paragraphs. Of the sorted
counts of tokens, so many are taken at even distances, so that the list has the shape of the whole.

    PYTHONPATH=tests python -m bench.race.lengths models/tokenizer-qwen3/tokenizer.json
"""

import argparse
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

SENTENCES, PARAGRAPHS = 256, 64
LEAST_LETTERS = 0.9  # of a paragraph's characters are letters or spaces; the rest is grammar, code
_SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z])")


def paragraphs(texts: Iterable[str]) -> Iterator[str]:
    """Every paragraph of prose once, on one line, in order."""
    seen: set[str] = set()
    for text in texts:
        for block in re.split(r"\n\s*\n", text):
            line = " ".join(block.split())
            prose = sum(letter.isalpha() or letter == " " for letter in line)
            if (
                line[:1].isupper()
                and line.endswith(".")
                and prose >= LEAST_LETTERS * len(line)
                and line not in seen
            ):
                seen.add(line)
                yield line


def sentences(paragraph: str) -> list[str]:
    """The sentences of one."""
    return _SENTENCE_END.split(paragraph)


def spread(counts: Sequence[int], wanted: int) -> list[int]:
    """`wanted` of the sorted counts, at even distances: their quantiles."""
    ordered = sorted(counts)
    return [ordered[(2 * index + 1) * len(ordered) // (2 * wanted)] for index in range(wanted)]


def main() -> None:
    """Prints both lists."""
    from pydoc_data.topics import topics

    from tokenizers import Tokenizer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokenizer", type=Path, help="v5-text-small's tokenizer.json")
    tokenizer = Tokenizer.from_file(str(parser.parse_args().tokenizer))
    prose = list(paragraphs(topics[name] for name in sorted(topics)))
    split = [sentences(paragraph) for paragraph in prose]
    whole = [paragraph for paragraph, parts in zip(prose, split, strict=True) if len(parts) > 1]
    for name, texts, wanted in (
        ("SENTENCES", [sentence for parts in split for sentence in parts], SENTENCES),
        ("PARAGRAPHS", whole, PARAGRAPHS),
    ):
        counts = [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts)]
        print(f"# {name}: {wanted} of {len(counts)}")
        print(textwrap.fill(" ".join(map(str, spread(counts, wanted))), 96))


if __name__ == "__main__":
    main()
