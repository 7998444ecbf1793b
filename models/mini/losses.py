"""What is minimized: nearness to targets, order of similarities, contrast, and spread.

All take vectors as the network gives them, (B, D), and look at them at each Matryoshka width
(arXiv 2205.13147).
"""

import torch
from torch import Tensor
from torch.nn import functional

from mini.targets import WIDTHS


def nearness(vectors: Tensor, targets: Tensor) -> Tensor:
    """Mean over the widths of one minus the cosine to the target."""
    losses = [
        1 - functional.cosine_similarity(vectors[:, :width], targets[:, :width]).mean()
        for width in WIDTHS
    ]
    return torch.stack(losses).mean()


def likeness(vectors: Tensor, targets: Tensor) -> Tensor:
    """Mean squared difference between the similarities within the batch and the targets' own."""
    losses = []
    for width in WIDTHS:
        ours, theirs = unit(vectors[:, :width]), unit(targets[:, :width])
        losses.append(((ours @ ours.T - theirs @ theirs.T) ** 2).mean())
    return torch.stack(losses).mean()


def ranking(first: Tensor, second: Tensor, grades: Tensor, *, scale: float = 20.0) -> Tensor:
    """CoSENT: of two pairs the one with the higher grade is to be the more similar.

    Args:
        first: (B, D).
        second: (B, D), the partners.
        grades: (B,).
        scale: inverse temperature.
    """
    above = grades[:, None] > grades[None, :] + 0.02  # (B, B): row is better than column
    losses = []
    for width in WIDTHS:
        scores = functional.cosine_similarity(first[:, :width], second[:, :width]) * scale
        wrong = (scores[None, :] - scores[:, None])[above]
        losses.append(torch.logsumexp(torch.cat([wrong.new_zeros(1), wrong]), dim=0))
    return torch.stack(losses).mean()


def contrast(
    queries: Tensor, documents: Tensor, alike: Tensor, *, temperature: float = 0.05
) -> Tensor:
    """InfoNCE (arXiv 1807.03748) in both directions, the others of the batch as negatives.

    Args:
        queries: (B, D).
        documents: (B, D), the answer of query i in row i.
        alike: (B, B), True where document j would be a right answer to query i as well: such
            pairs count neither for nor against.
        temperature: of the softmax.
    """
    own = torch.arange(len(queries), device=queries.device)
    hidden = alike & ~torch.eye(len(queries), dtype=torch.bool, device=queries.device)
    losses = []
    for width in WIDTHS:
        scores = unit(queries[:, :width]) @ unit(documents[:, :width]).T / temperature
        scores = scores.masked_fill(hidden, -torch.inf)
        losses += [functional.cross_entropy(scores, own), functional.cross_entropy(scores.T, own)]
    return torch.stack(losses).mean()


def neighbors(
    queries: Tensor, documents: Tensor, taught_queries: Tensor, taught_documents: Tensor,
    *, itself: bool = False, temperature: float = 0.05,
) -> Tensor:  # fmt: skip
    """Cross entropy of the teacher's softmax over the documents of a batch and ours.

    Where `likeness` weighs all similarities alike, this looks at the nearest.

    Args:
        queries: (B, D).
        documents: (C, D).
        taught_queries: (B, D), the teacher's vectors of the same texts.
        taught_documents: (C, D).
        itself: whether document i is query i, which is then left out.
        temperature: of both.
    """
    losses = []
    hidden = torch.eye(len(queries), dtype=torch.bool, device=queries.device) if itself else None
    for width in WIDTHS:
        wanted = unit(taught_queries[:, :width]) @ unit(taught_documents[:, :width]).T
        scores = unit(queries[:, :width]) @ unit(documents[:, :width]).T
        if hidden is not None:
            wanted, scores = (found.masked_fill(hidden, -100.0) for found in (wanted, scores))
        shares = functional.softmax(wanted / temperature, dim=1)
        losses.append(functional.cross_entropy(scores / temperature, shares))
    return torch.stack(losses).mean()


def groups(vectors: Tensor, labels: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Supervised contrast (arXiv 2004.11362): texts of one label are drawn together.

    Args:
        vectors: (B, D).
        labels: (B,), integers.
        temperature: of the softmax.
    """
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    same = (labels[:, None] == labels[None, :]) & ~itself
    losses = []
    for width in WIDTHS:
        near = unit(vectors[:, :width])
        scores = (near @ near.T / temperature).masked_fill(itself, -torch.inf)
        logs = scores - torch.logsumexp(scores, dim=1, keepdim=True)
        mean = logs.masked_fill(~same, 0).sum(1) / same.sum(1).clamp(min=1)
        losses.append(-mean[same.any(1)].mean())
    return torch.stack(losses).mean()


def spread(vectors: Tensor) -> Tensor:
    """Spread-out regulariser (arXiv 1708.06320): mean squared cosine of unlike texts.

    Vectors spread evenly over the sphere have 1/D; it is what keeps binary codes apart.
    """
    near = unit(vectors)
    squares = (near @ near.T) ** 2
    count = len(vectors)
    return (squares.sum() - squares.diagonal().sum()) / (count * (count - 1))


def unit(vectors: Tensor) -> Tensor:
    """(B, D) -> (B, D), unit length."""
    return functional.normalize(vectors, dim=-1)
