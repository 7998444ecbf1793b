"""Qwen3, Qwen2, Llama and EuroBERT as families, and the jina-embeddings-v5 models made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedge.pack.manifest import MemoryCost
from embedge_export.families.decoder.config import NetworkConfig, network_config
from embedge_export.families.family import Array, Family, Ids, Opened, Targets, TextTask
from embedge_export.families.memory import attention_cost
from embedge_export.head.head import Head
from embedge_export.tensors.lora import load_adapter
from embedge_export.tensors.weights import Weights

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class Decoder(Family[NetworkConfig]):
    """See Family.

    Attributes:
        network: one of the tables of fields.py.
    """

    network: str

    def read(self, config: Mapping[str, Any], weights: Weights) -> NetworkConfig:
        """The checked config; see `network_config`."""
        return network_config(config, weights, self.network)

    def open(
        self,
        folder: Path,
        config: Mapping[str, Any],
        stored: Weights,
        *,
        adapters: Mapping[str, Path],
        tasks: Sequence[str],
    ) -> Opened[NetworkConfig]:
        """See Family."""
        record = self.read(config, stored)
        return Opened(
            record, stored, {task: load_adapter(path, stored) for task, path in adapters.items()}
        )

    def calibrated(self) -> tuple[str, ...]:
        """See Family."""
        from embedge_export.families.decoder.blocks import CALIBRATED

        return CALIBRATED

    def vectors(
        self,
        config: NetworkConfig,
        weights: Weights,
        texts: Sequence[Ids],
        *,
        head: Head,
        **calls: Any,
    ) -> Array:
        """See Family."""
        from embedge_export.families.decoder.truth import network_vectors

        return network_vectors(config, weights, texts, head=head, **calls)

    def write(
        self,
        config: NetworkConfig,
        task: TextTask,
        targets: Targets,
        *,
        advance: Callable[[str], None],
    ) -> "list[ir.Value]":
        """See Family."""
        from embedge_export.families.decoder.writer import write

        return write(config, task, targets, advance=advance)

    def memory_cost(self, config: NetworkConfig) -> MemoryCost:
        """See Family."""
        return attention_cost(
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            heads=config.num_attention_heads,
            causal=config.causal,
        )

    def recipe_added(self, config: NetworkConfig, precision: str) -> int:
        """See Family. fp16 graphs changed once, and with norms of the heads twice."""
        return config.causal + config.query_key_norm if precision == "fp16" else 0


QWEN3 = Decoder(
    network="qwen3",
    usual_pooling="last_token",
    tokenizer="Qwen2Tokenizer",
    plain=("qwen3", "Qwen3Model"),
)
QWEN2 = Decoder(
    network="qwen2",
    usual_pooling="last_token",
    tokenizer="Qwen2Tokenizer",
    tokenizer_is_fixed=True,
    plain=("qwen2", "Qwen2Model"),
)
LLAMA = Decoder(network="llama", usual_pooling="last_token", plain=("llama", "LlamaModel"))
EUROBERT = Decoder(network="eurobert", plain=("eurobert", "EuroBertModel"))


class _JinaV5(Decoder):
    """The two v5 models have one model_type, and `is_decoder` says which network it is."""

    def read(self, config: Mapping[str, Any], weights: Weights) -> NetworkConfig:
        """See Decoder."""
        return self._network(config).read(config, weights)

    def plain_form(self, config: Mapping[str, Any]) -> tuple[str, str] | None:
        """See Family."""
        return self._network(config).plain

    def _network(self, config: Mapping[str, Any]) -> Decoder:
        """jina-embeddings-v5-text-nano is the bidirectional one."""
        return EUROBERT if config.get("is_decoder") is False else QWEN3


JINA_V5 = _JinaV5(
    network="qwen3",
    # The models' own code holds these, so they count without a configuration file.
    prompts={"query": "Query: ", "document": "Document: "},
    default_prompt="document",
    pooling="last_token",
    # What the model cards list; the config has no such key.
    dimensions=(32, 64, 128, 256, 512, 768, 1024),
)
