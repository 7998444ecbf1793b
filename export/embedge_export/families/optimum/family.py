"""Networks that are taken from transformers and Optimum, as one family."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedge.errors import MissingExtraError, SourceError
from embedge.pack.manifest import MemoryCost
from embedge_export.families.family import Array, Family, Ids, Opened, Targets, TextTask
from embedge_export.families.optimum.config import OptimumConfig
from embedge_export.families.stored_adapters import StoredAdapters
from embedge_export.head.head import Head
from embedge_export.reading.fields import is_whole
from embedge_export.tensors.lora import load_adapter
from embedge_export.tensors.weights import Weights

if TYPE_CHECKING:
    import onnx_ir as ir

_NEEDED = {
    "torch": "torch",
    "transformers": "transformers",
    "optimum.exporters.onnx": "optimum-onnx",
}
# What configs call the width of a row.
_WIDTHS = ("hidden_size", "dim", "d_model", "n_embd", "emb_dim")
# Their positions begin after the padding token's id, as in fairseq.
_FROM_PADDING = ("camembert", "data2vec-text", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl")
_SQUARES = {"deberta": 9, "deberta-v2": 6}  # of scores; they gather some by distance
_USUAL_SQUARES = 4
_NO_LIMIT = 1024  # positions of a network that names none: what its memory is counted for


@dataclass(frozen=True, kw_only=True)
class Optimum(Family[OptimumConfig]):
    """See Family. One instance stands for every model type."""

    adds_token_types: bool = True
    packages: tuple[str, ...] = ("optimum-onnx", "torch", "transformers")

    def check_installed(self) -> None:
        """See Family."""
        missing = [package for module, package in _NEEDED.items() if not _is_there(module)]
        if missing:
            raise MissingExtraError(
                f"--via optimum needs packages that are missing ({', '.join(missing)}); install "
                "with: pip install 'embedge[optimum]' (an environment of its own is best), or, in "
                "a checkout, make setup-optimum"
            )

    def width(self, folder: Path, config: Mapping[str, Any]) -> int:
        """See Family."""
        for name in _WIDTHS:
            width = config.get(name)
            if is_whole(width) and width > 0:
                return width
        return super().width(folder, config)

    def positions(self, folder: Path, config: Mapping[str, Any]) -> object:
        """See Family."""
        positions, pad = config.get("max_position_embeddings"), config.get("pad_token_id", 1)
        if config.get("model_type") in _FROM_PADDING and is_whole(positions) and is_whole(pad):
            return positions - pad - 1
        return positions

    def stored_adapters(self, folder: Path, config: Mapping[str, Any]) -> StoredAdapters | None:
        """See Family. None: only code of a model's own has any."""
        return None

    def open(
        self,
        folder: Path,
        config: Mapping[str, Any],
        stored: Weights,
        *,
        adapters: Mapping[str, Path],
        tasks: Sequence[str],
    ) -> Opened[OptimumConfig]:
        """See Family."""
        from embedge_export.families.optimum.network import load_network

        if config.get("quantization_config") is not None:
            raise SourceError(
                f"{folder}: config.json has a quantization_config; take the model's unquantized "
                "weights"
            )
        network = load_network(folder)
        found = network.module.config
        width, positions = self.width(folder, config), self.positions(folder, config)
        own = network.rows(np.zeros((1, 2), np.int32)).shape[-1]
        if own != width:
            raise SourceError(
                f"{folder}: the network gives rows of {own} numbers, and config.json says {width}; "
                "such a network is not supported"
            )
        record = OptimumConfig(
            family=str(config["model_type"]),
            hidden_size=width,
            num_hidden_layers=max(1, network.layers),
            num_attention_heads=int(getattr(found, "num_attention_heads", 1)),
            intermediate_size=int(getattr(found, "intermediate_size", None) or 4 * width),
            vocab_size=len(network.table.weight),
            positions=positions if is_whole(positions) else _NO_LIMIT,
            network=network,
        )
        merged = {task: load_adapter(path, network.weights) for task, path in adapters.items()}
        return Opened(record, network.weights, merged)

    def calibrated(self) -> tuple[str, ...]:
        """See Family. All: which ones read the same rows is seen, not known."""
        return ("",)

    def vectors(
        self,
        config: OptimumConfig,
        weights: Weights,
        texts: Sequence[Ids],
        *,
        head: Head,
        **calls: Any,
    ) -> Array:
        """See Family. `product` is torch's own."""
        from embedge_export.families.optimum.truth import text_rows
        from embedge_export.head.truth import vectors

        calls.pop("product", None)
        rows = text_rows(config.network, weights, texts, steps=self.steps(config), **calls)
        return vectors(rows, np.cumsum([0, *map(len, texts)]), head)

    def write(
        self,
        config: OptimumConfig,
        task: TextTask,
        targets: Targets,
        *,
        advance: Callable[[str], None],
    ) -> "list[ir.Value]":
        """See Family."""
        from embedge_export.families.optimum.writer import write

        return write(config, task, targets, steps=self.steps(config), advance=advance)

    def memory_cost(self, config: OptimumConfig) -> MemoryCost:
        """See Family. The square of scores stands in memory for every head, several times.

        Measured as the growth of peak memory with a text's length, fp32 taking more than int8:
        2.5 squares for MiniLM's network, 3.5 with MPNet's bias, 5.6 for DeBERTa-v2's, 8.2 for
        DeBERTa's. The rest was at most 5.4 times the numbers of an MLP and a row.

        The runtime counts squares for texts of up to 1,024 tokens alone, with most versions of ONNX
        Runtime. For a network of longer ones the longest text's are spread over its tokens.
        """
        squares = _SQUARES.get(config.family, _USUAL_SQUARES) * 4 * config.num_attention_heads
        longer = config.positions if config.positions > _NO_LIMIT else 0
        return MemoryCost(
            per_token=6 * 4 * (config.intermediate_size + config.hidden_size) + squares * longer,
            per_token_squared=0.0 if longer else float(squares),
        )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package above it
        return False


OPTIMUM = Optimum()
