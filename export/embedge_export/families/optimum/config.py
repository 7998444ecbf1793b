"""What is known of a network that transformers loads: the record that the other families read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedge_export.families.optimum.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimumConfig:
    """Sizes of a network, and the network itself; names as in transformers' configs.

    Attributes:
        positions: the longest text that it may see, in tokens.
        network: loaded, in torch.
    """

    family: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    positions: int
    network: "Network"

    @property
    def causal(self) -> bool:
        """False: a graph runs texts of one length at a time, whatever a token of them sees."""
        return False
