"""Splitting: passages keep every word and their line, and stay what they are."""

import hashlib
import time

from hypothesis import given
from hypothesis import strategies as st

from embedge.search.passages import SPLITTING, split_text


@given(
    st.lists(
        st.sampled_from(["word", "Wort. ", "字", "\n", "\n\n", " ", " " * 40, "\r\n", "x" * 50])
    ),
    st.integers(10, 60),
    st.integers(0, 10),
)
def test_passages_keep_every_character_and_stay_small(
    parts: list[str], most: int, few: int
) -> None:
    text = "".join(parts)
    passages = split_text(text, most=most, few=few)
    assert "".join("".join(piece.split()) for _, piece in passages) == "".join(text.split())
    lines = text.split("\n")
    for line, piece in passages:
        assert 0 < len(piece) <= most
        first = piece.split()[0]
        assert first in lines[line - 1] or first in text  # a cut word still belongs to the text
    assert [line for line, _ in passages] == sorted(line for line, _ in passages)


def test_lines_and_joining() -> None:
    text = "# Title\n\nFirst paragraph\nof two lines.\n\n\n" + "Second. " * 30 + "\n\nThird."
    passages = split_text(text, most=300, few=30)
    assert passages[0] == (1, "# Title\n\nFirst paragraph\nof two lines.\n\n\n".strip())
    assert [line for line, _ in passages] == [1, 7, 9]


def test_a_long_paragraph_is_cut_at_sentences() -> None:
    passages = split_text("One sentence here. " * 10, most=50, few=0)
    assert all(piece.endswith("here.") for _, piece in passages)
    passages = split_text("这是一个句子\uff01" * 10, most=20, few=0)
    assert all(piece.endswith("\uff01") for _, piece in passages)


def test_a_line_of_megabytes_takes_no_quadratic_time() -> None:
    start = time.process_time()
    assert len(split_text("x" * 2**22)) == 3496
    assert time.process_time() - start < 2


def test_other_passages_need_another_number() -> None:
    """An index is made anew when SPLITTING changes, so it must change with the passages."""
    text = "\n".join(
        "word. " * (n % 7 * 40) + "\n" * (n % 3) + "字。\uff1f" * (n % 5 * 100) for n in range(60)
    )
    digest = hashlib.sha256(repr(split_text(text)).encode()).hexdigest()[:16]
    assert (SPLITTING, digest) == (1, "4748c46f74a34b68"), (
        "count SPLITTING up and pin the new digest"
    )
