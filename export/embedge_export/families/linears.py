"""A linear of a text network, read from a checkpoint as graphs take it."""

from embedge_export.families.family import TextTask
from embedge_export.graph.layers import Linear
from embedge_export.numbers.calibration import Inputs


def read_linear(
    task: TextTask, prefix: str, name: str, module: str, inputs: Inputs | None
) -> Linear:
    """Reads the weight of a layer's module, and its bias where the checkpoint has one.

    Args:
        task: whose weights.
        prefix: of the layer's keys.
        name: what the graph calls it, behind the same prefix.
        module: what the checkpoint calls it, behind the prefix.
        inputs: rows that it reads.
    """
    weight, bias = (f"{prefix}.{module}.{part}" for part in ("weight", "bias"))
    return Linear(
        f"{prefix}.{name}",
        task.weights.read(weight),
        task.weights.read(bias) if bias in task.weights else None,
        shared=not task.adapted(weight),
        inputs=inputs,
    )
