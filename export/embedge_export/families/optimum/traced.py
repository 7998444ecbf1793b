"""Optimum's own graph of a network: exported into a folder, read and tidied.

Takes a network in torch; gives its graph as onnx_ir holds it, from token ids to the last hidden
state. What the copy of it does (writer.py) is not known here.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult, Sequential
from onnx_ir.passes import common as tidy

from embedge.errors import SourceError
from embedge.pack.contract import ROWS
from embedge.reasons import reason_of
from embedge_export.families.optimum.quiet import quiet

if TYPE_CHECKING:
    from embedge_export.families.optimum.network import Network

# Since this version norms are one node, and axes of reductions inputs, as in the graphs written
# here; the ones after it changed no operator that the exporter of torch writes for a text.
_OPSET = 18
_TASK = "feature-extraction"


def trace(network: "Network", folder: Path) -> ir.Graph:
    """The network's graph; its weights stand in a file of the folder.

    Raises:
        SourceError: Optimum cannot export it, or it has other outputs than rows.
    """
    from optimum.exporters.onnx import export
    from optimum.exporters.tasks import TasksManager

    module: Any = network.module
    kind, path = module.config.model_type, folder / "model.onnx"
    with quiet():
        try:
            constructor = TasksManager.get_exporter_config_constructor(
                "onnx", model=module, task=_TASK, library_name="transformers"
            )
        except (KeyError, ValueError, AttributeError) as error:
            raise SourceError(
                f"Optimum has no export to ONNX for model_type {kind!r}: {reason_of(error)}"
            ) from error
        try:
            settings = constructor(module.config)
            opset = max(_OPSET, settings.DEFAULT_ONNX_OPSET)
            export(model=module, config=settings, output=path, opset=opset)
        # Whatever torch or Optimum raises while tracing is about this network.
        except Exception as error:
            raise SourceError(
                f"Optimum cannot export this network of model_type {kind!r}: {reason_of(error)}"
            ) from error
    model = ir.load(path)
    tidied = Sequential(
        tidy.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        _ConstantsByOneName(),
        tidy.CommonSubexpressionEliminationPass(),
        tidy.RemoveUnusedNodesPass(),
        tidy.ShapeInferencePass(),
    )(model)
    graph = tidied.model.graph
    if [value.name for value in graph.outputs] != [ROWS]:
        names = ", ".join(str(value.name) for value in graph.outputs)
        raise SourceError(
            f"Optimum's graph of model_type {kind!r} gives {names}, and not {ROWS} alone; such a "
            "network has no rows to pool"
        )
    return graph


class _ConstantsByOneName(InPlacePass):
    """Equal weights are one in a traced graph, and the others its `Identity`."""

    def call(self, model: ir.Model) -> PassResult:
        for node in list(model.graph):
            value = node.inputs[0] if node.op_type == "Identity" else None
            if value is not None and value.is_initializer():
                ir.convenience.replace_all_uses_with(node.outputs[0], value)
                model.graph.remove(node, safe=True)
        return PassResult(model, modified=True)
