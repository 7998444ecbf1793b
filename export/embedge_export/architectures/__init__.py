"""One file a network: from its config and weights to a graph."""

from embedge_export.architectures.config import DecoderConfig, decoder_config
from embedge_export.architectures.decoder import write_decoders

__all__ = ["DecoderConfig", "decoder_config", "write_decoders"]
