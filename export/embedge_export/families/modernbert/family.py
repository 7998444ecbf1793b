"""ModernBERT as a family."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedge.pack.manifest import MemoryCost
from embedge_export.families.family import Array, Family, Ids, Opened, Targets, TextTask
from embedge_export.families.memory import attention_cost
from embedge_export.families.modernbert.config import ModernBertConfig, modernbert_config
from embedge_export.families.modernbert.names import network_weights
from embedge_export.head.head import Head
from embedge_export.tensors.lora import load_adapter
from embedge_export.tensors.weights import Weights

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class ModernBert(Family[ModernBertConfig]):
    """See Family."""

    def read(self, config: Mapping[str, Any], weights: Weights) -> ModernBertConfig:
        """The checked config; see `modernbert_config`."""
        return modernbert_config(config, weights)

    def open(
        self,
        folder: Path,
        config: Mapping[str, Any],
        stored: Weights,
        *,
        adapters: Mapping[str, Path],
        tasks: Sequence[str],
    ) -> Opened[ModernBertConfig]:
        """See Family."""
        weights = network_weights(stored)
        record = self.read(config, weights)
        found = {t: weights.named(load_adapter(path, stored)) for t, path in adapters.items()}
        return Opened(record, weights, found)

    def calibrated(self) -> tuple[str, ...]:
        """See Family."""
        from embedge_export.families.modernbert.blocks import CALIBRATED

        return CALIBRATED

    def vectors(
        self,
        config: ModernBertConfig,
        weights: Weights,
        texts: Sequence[Ids],
        *,
        head: Head,
        **calls: Any,
    ) -> Array:
        """See Family."""
        from embedge_export.families.modernbert.truth import modernbert_vectors

        return modernbert_vectors(config, weights, texts, head=head, **calls)

    def write(
        self,
        config: ModernBertConfig,
        task: TextTask,
        targets: Targets,
        *,
        advance: Callable[[str], None],
    ) -> "list[ir.Value]":
        """See Family."""
        from embedge_export.families.modernbert.writer import write

        return write(config, task, targets, advance=advance)

    def memory_cost(self, config: ModernBertConfig) -> MemoryCost:
        """See Family."""
        from embedge_export.graph.windows import window_bytes

        window = window_bytes(
            reach=config.reach, heads=config.num_attention_heads, hidden=config.hidden_size
        )
        return attention_cost(
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            heads=config.num_attention_heads,
            causal=config.causal,
            window=window if any(config.local_layers) else 0,
        )


MODERNBERT = ModernBert(
    tokenizer="TokenizersBackend",
    tokenizer_is_fixed=True,
    plain=("modernbert", "ModernBertModel"),
)
