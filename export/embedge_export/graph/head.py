"""A head in a graph: a text's rows made its vector. The definitions are those of head/truth.py."""

import onnx_ir as ir

from embedge_export.graph.attention import Batch
from embedge_export.graph.builder import GraphBuilder
from embedge_export.head.head import Head


def pool(graph: GraphBuilder, batch: Batch, rows: ir.Value, head: Head) -> ir.Value:
    """Each text's rows made one: float32 (rows, hidden) -> (B, head.pooled_width)."""
    parts = [batch.pool(rows, mode) for mode in head.modes]
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=-1)
