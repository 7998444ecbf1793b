"""Static models as families: model2vec's folders, and those of Sentence Transformers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedge.errors import SourceError
from embedge.pack.manifest import MemoryCost
from embedge_export.families.family import Array, Family, Ids, Opened, Targets, TextTask
from embedge_export.families.static.config import (
    StaticConfig,
    longest,
    named_tensors,
    notes,
    static_config,
    table_shape,
)
from embedge_export.families.static.fields import MODEL2VEC, PLACE, STATIC_EMBEDDING
from embedge_export.head.head import MEAN, Head
from embedge_export.tensors.checkpoint import DTYPES, TABLE_DTYPES, open_weights
from embedge_export.tensors.weights import Weights

if TYPE_CHECKING:
    import onnx_ir as ir

# Transient bytes of a CPU run by number of a token's row: what is stored, its floats, and their
# products with a scale or a weight. Runs of 131,072 tokens took 9.5 (int8, 256 wide) and 9.9 (fp16,
# mapped, 64 wide) with ONNX Runtime 1.32; 11 leaves room.
_BYTES = 11
_IDS = 64  # the same beside the row: ids, masks, rows of the table, scales


@dataclass(frozen=True, kw_only=True)
class Static(Family[StaticConfig]):
    """See Family.

    Attributes:
        network: which of the tables of fields.py.
    """

    network: str
    pooling: str | None = MEAN
    pooling_is_fixed: bool = True
    bare_tokenizer: bool = True
    dtypes: Mapping[str, np.dtype[Any]] = field(default_factory=lambda: {**DTYPES, **TABLE_DTYPES})
    refused_precisions: Mapping[str, str] = field(
        default_factory=lambda: {
            "int4": "a static model is a table, which int4 graphs keep in int8; take int8"
        }
    )

    def network_folder(self, folder: Path, config: Mapping[str, Any]) -> Path:
        """See Family."""
        return folder / str(config.get(PLACE, ""))

    def width(self, folder: Path, config: Mapping[str, Any]) -> int:
        """See Family. That of the table: a config keeps what it was before a later cut."""
        stored = open_weights(self.network_folder(folder, config), self.dtypes)
        return table_shape(named_tensors(stored))[1]

    def notes(self, folder: Path, config: Mapping[str, Any]) -> list[str]:
        """See Family."""
        if self.network != MODEL2VEC:
            return []
        return notes(self.network_folder(folder, config), self.positions(folder, config))

    def positions(self, folder: Path, config: Mapping[str, Any]) -> int:
        """See Family."""
        return longest(self.network_folder(folder, config), config, self.network)

    def open(
        self,
        folder: Path,
        config: Mapping[str, Any],
        stored: Weights,
        *,
        adapters: Mapping[str, Path],
        tasks: Sequence[str],
    ) -> Opened[StaticConfig]:
        """See Family. There is nothing that an adapter could change."""
        if adapters:
            raise SourceError(
                f"{folder} has a folder of adapters, and a static model has no layers that they "
                "could change; remove it"
            )
        weights = named_tensors(stored)
        place = self.network_folder(folder, config)
        return Opened(static_config(place, config, weights, self.network), weights, {})

    def calibrated(self) -> tuple[str, ...]:
        """See Family. There are no linears."""
        return ()

    def vectors(
        self,
        config: StaticConfig,
        weights: Weights,
        texts: Sequence[Ids],
        *,
        head: Head,
        **calls: Any,
    ) -> Array:
        """See Family."""
        from embedge_export.families.static.truth import static_vectors

        return static_vectors(config, weights, texts, head=head, **calls)

    def write(
        self,
        config: StaticConfig,
        task: TextTask,
        targets: Targets,
        *,
        advance: Callable[[str], None],
    ) -> "list[ir.Value]":
        """See Family."""
        from embedge_export.families.static.writer import write

        return write(config, task, targets, advance=advance)

    def memory_cost(self, config: StaticConfig) -> MemoryCost:
        """See Family. The rows of all tokens, before they are summed."""
        return MemoryCost(per_token=_BYTES * config.hidden_size + _IDS, per_token_squared=0.0)


MODEL2VEC_TABLE = Static(network=MODEL2VEC)
STATIC_TABLE = Static(network=STATIC_EMBEDDING)
