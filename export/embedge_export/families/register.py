"""From a network's config and weights to a graph."""

from collections.abc import Callable, Sequence

import onnx_ir as ir

from embedge_export.families.bert import blocks as bert
from embedge_export.families.bert.config import BertConfig
from embedge_export.families.decoder import blocks as decoder
from embedge_export.families.decoder.blocks import batch_kind
from embedge_export.families.decoder.config import NetworkConfig, network_config
from embedge_export.graph.builder import GraphBuilder
from embedge_export.graph.packed import PackedBatch
from embedge_export.numbers.calibration import SampleRows
from embedge_export.precision import Precision
from embedge_export.tensors.weights import Weights

TextConfig = NetworkConfig | BertConfig

__all__ = [
    "BertConfig",
    "NetworkConfig",
    "TextConfig",
    "batch_kind",
    "network_config",
    "poolings",
    "sampled",
    "write_networks",
]


def poolings(config: TextConfig) -> tuple[str, ...]:
    """How a text network's graph can make one vector of a text's."""
    return (PackedBatch if isinstance(config, BertConfig) else batch_kind(config)).poolings


def sampled(config: TextConfig) -> tuple[str, ...]:
    """One linear of each row of inputs that a layer has: those whose rows are wanted."""
    return bert.SAMPLED if isinstance(config, BertConfig) else decoder.SAMPLED


def write_networks(
    config: TextConfig,
    weights: Weights,
    targets: Sequence[tuple[Precision, GraphBuilder]],
    *,
    pooling: str,
    touched: Callable[[str], bool],
    samples: SampleRows | None = None,
    advance: Callable[[str], None],
) -> list[ir.Value]:
    """The graph of a text network at every precision; see the decoder's `write`."""
    write: Callable[..., list[ir.Value]] = (
        bert.write if isinstance(config, BertConfig) else decoder.write
    )
    return write(
        config,
        weights,
        targets,
        pooling=pooling,
        touched=touched,
        samples=samples,
        advance=advance,
    )
