"""Published figures of the models, to check a pack made from the real weights.

The similarities stand in the model cards; the token ids were published by third parties and
checked. Models are known by their name in the manifest's `model_id`.
"""

from dataclasses import dataclass

# The published figures have four digits and were made in bfloat16.
TOLERANCE = {"fp32": 0.01, "fp16": 0.01, "int8": 0.02, "int4": 0.1}

QUERY = "Which planet is known as the Red Planet?"
DOCUMENTS = (
    "Venus is often called Earth's twin because of its similar size and proximity.",
    "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
    "Jupiter, the largest planet in our solar system, has a prominent red spot.",
    "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.",
)
TOKEN_TEXTS = (
    "Query: How fast does light travel in a vacuum?",
    "Document: In a vacuum, light travels 299,792,458 metres every second - "
    "a universal constant of nature.",
)


@dataclass(frozen=True, slots=True)
class Golden:
    """What is published of one model."""

    similarities: tuple[float, ...]  # of QUERY to each of DOCUMENTS, task retrieval
    token_ids: tuple[str, ...]  # of TOKEN_TEXTS, with spaces between


GOLDEN = {
    "jina-embeddings-v5-text-small": Golden(
        similarities=(0.4860, 0.7611, 0.5914, 0.6188),
        token_ids=(
            "2859 25 2585 4937 1558 3100 5821 304 264 28202 30",
            "7524 25 758 264 28202 11 3100 34192 220 17 24 24 11 22 24 17 11 19 20 23 36256 1449 "
            "2086 481 264 20178 6783 315 6993 13",
        ),
    ),
    "jina-embeddings-v5-text-nano": Golden(
        similarities=(0.5013, 0.7914, 0.6133, 0.5736),
        token_ids=(
            "2929 25 2650 5043 1587 3177 5944 304 264 29302 30 128001",
            "7676 25 763 264 29302 11 3177 35292 220 15531 11 24763 11 21209 37356 1475 2132 482 "
            "264 20789 6926 315 7138 13 128001",
        ),
    ),
}


def find_golden(model_id: str) -> Golden | None:
    """The figures of a model; merged repositories (`…-small-retrieval`) count as the model."""
    return next((golden for name, golden in GOLDEN.items() if name in model_id), None)
