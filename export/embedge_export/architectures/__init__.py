"""From a network's config and weights to a graph."""

from embedge_export.architectures.config import NetworkConfig, network_config
from embedge_export.architectures.network import SAMPLED, SampleRows, batch_kind, write_networks

__all__ = [
    "SAMPLED",
    "NetworkConfig",
    "SampleRows",
    "batch_kind",
    "network_config",
    "write_networks",
]
