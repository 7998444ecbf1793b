"""What is printed of a network during training, on held-out texts and STS-B's development set."""

import json
from collections.abc import Callable, Sequence

import numpy as np
from tokenizers import Tokenizer
from torch import nn

from mini import batches, losses
from mini.distill import Lessons
from mini.scores import Pairs, spearman
from mini.teacher import Teacher


def watch(
    texts: Sequence[str], pairs: Pairs, teacher: Teacher, tokenizer: Tokenizer
) -> Callable[[nn.Module], str]:
    """A function that measures a network and gives a line.

    Args:
        texts: held out.
        pairs: graded pairs, or none.
        teacher: whose vectors are wanted.
        tokenizer: of the network.
    """
    shown = [*texts, *(pair[0] for pair in pairs), *(pair[1] for pair in pairs)]
    lessons = Lessons(batches.tokenize(tokenizer, shown), teacher)
    held = np.arange(len(texts))
    wanted = lessons.wanted(held)
    grades = np.array([pair[2] for pair in pairs])

    def tell(network: nn.Module) -> str:
        vectors = losses.unit(lessons.vectors(network, np.arange(len(shown))))
        found = {"cosine": float((vectors[held] * wanted).sum(1).mean())}
        if pairs:
            sides = vectors[len(texts) :]
            for width in (64, 256):
                one, other = losses.unit(sides[:, :width]).chunk(2)
                near = (one * other).sum(1).cpu().numpy()
                found[f"sts {width}"] = spearman(near, grades)
        return json.dumps({name: round(value, 4) for name, value in found.items()})

    return tell
