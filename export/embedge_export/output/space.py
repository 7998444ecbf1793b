"""How much room what will be written needs: a floor, known before any weight is read.

Takes shapes; gives bytes. It counts the matrices alone, at what a precision makes of one number,
so that it is never more than the real thing and nobody is refused who has the room.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from embedge_export.tensors.weights import Weights

if TYPE_CHECKING:
    from embedge_export.model import Model

# Bytes of one number of a matrix, scales not included.
_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0, "int4": 0.5}
_TABLE = 1.0  # of one of the token table, at the least: int4 keeps it in int8


def pack_bytes(model: "Model", precisions: Iterable[str]) -> int:
    """The least that the graphs of these precisions take, all tasks together."""
    tasks = len(model.source.tasks)
    image = model.image is not None
    return sum(graph_bytes(model, p, tasks, shared=True, image=image) for p in precisions)


def graph_bytes(model: "Model", precision: str, tasks: int, *, shared: bool, image: bool) -> int:
    """The least that graphs of one precision take.

    Args:
        model: what is exported.
        precision: its name.
        tasks: how many graphs of texts.
        shared: whether the weights that tasks share are written too.
        image: whether the image tower is.
    """
    each, total = _BYTES[precision], 0.0
    for key, size in _matrices(model.base):
        count = tasks if model.adapted(key) else int(shared and tasks > 0)
        table = model.base.shape(key)[0] == model.config.vocab_size
        total += size * count * (max(each, _TABLE) if table else each)
    if image and model.image is not None:
        total += each * sum(size for _, size in _matrices(model.image.weights))
    return int(total)


def merged_bytes(base: Weights, tasks: int, itemsize: int) -> int:
    """The least that plain folders of so many tasks take."""
    return tasks * itemsize * sum(size for _, size in _matrices(base))


def hub_bytes(model: "Model", precisions: Iterable[str], itemsize: int) -> int:
    """The least that hub folders take: for every task its weights, and each precision's graph."""
    base, tasks = model.base, len(model.source.tasks)
    each = itemsize + sum(_BYTES[precision] for precision in precisions)
    return int(tasks * each * sum(size for _, size in _matrices(base)))


def _matrices(weights: Weights) -> Sequence[tuple[str, int]]:
    """Key and size of every matrix; an output head is not written."""
    return [
        (key, math.prod(weights.shape(key)))
        for key in sorted(weights.keys())
        if len(weights.shape(key)) == 2 and not key.startswith("lm_head.")
    ]
