"""What is told of a network during training, on held-out texts and STS-B's development set."""

import json
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from mini import batches, losses
from mini.batches import DOCUMENT, QUERY
from mini.device import DEVICE, reduced
from mini.scores import recall, spearman

Pairs = Sequence[tuple[str, str, float]]
TOKENS = 65_536  # run at once


def watch(
    questions: dict[str, tuple[list[str], list[str]]], texts: Sequence[str],
    aims: NDArray[np.float16], pairs: Pairs, tokenizer: Tokenizer,
) -> Callable[[nn.Module], str]:  # fmt: skip
    """A function that measures a network and gives a line.

    Args:
        questions: of each retrieval test, queries and documents.
        texts: held out.
        aims: their targets.
        pairs: graded pairs, or none.
        tokenizer: of the network.
    """
    grades = np.array([pair[2] for pair in pairs])
    sides = [DOCUMENT + pair[0] for pair in pairs], [DOCUMENT + pair[1] for pair in pairs]
    wanted = torch.from_numpy(aims.astype(np.float32)).to(DEVICE)

    def run(network: nn.Module, prompt: str, shown: Sequence[str]) -> Tensor:
        tokens = batches.tokenize(tokenizer, [prompt + text for text in shown])
        parts = batches.by_length(tokens.lengths, 4096, TOKENS, np.random.default_rng(0))
        with reduced():
            found = torch.cat([network(*tokens.batch(part)).float() for part in parts])
        return losses.unit(found[torch.from_numpy(np.argsort(np.concatenate(parts))).to(DEVICE)])

    @torch.inference_mode()
    def tell(network: nn.Module) -> str:
        vectors = run(network, DOCUMENT, texts)
        told = {"cosine": float((vectors * losses.unit(wanted)).sum(1).mean())}
        recalls = {
            name: recall((run(network, QUERY, one) @ run(network, DOCUMENT, other).T).cpu().numpy())
            for name, (one, other) in questions.items()
        }
        told |= recalls | {"recall": float(np.mean(list(recalls.values())))}
        if pairs:
            one, other = (run(network, "", side) for side in sides)
            for width in (64, 256):
                near = (losses.unit(one[:, :width]) * losses.unit(other[:, :width])).sum(1)
                told[f"sts {width}"] = spearman(near.cpu().numpy(), grades)
        return json.dumps({name: round(value, 4) for name, value in told.items()})

    return tell
