"""BERT's encoder in PyTorch, with LoRA beside its matrices: the teacher, and the student cut of it.

Parameter names are those of a checkpoint of transformers' BertModel. A text's vector is the mean of
its rows, special tokens included, times a matrix that turns and cuts it.
Source: BERT (arXiv 1810.04805); LoRA (arXiv 2106.09685).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

ADAPTED = 1  # layers that adapters change, the last; what lies below is the same for all tasks


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a network. `width` None: its vector is the mean itself."""

    vocab: int
    width: int | None = 256
    layers: int = 3
    intermediate: int = 384
    hidden: int = 384
    heads: int = 12
    positions: int = 512
    types: int = 2
    epsilon: float = 1e-12


class Linear(nn.Linear):
    """A matrix with bias, to which an adapter of low rank may be added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.lora_A: nn.Parameter | None = None
        self.lora_B: nn.Parameter | None = None

    def add_adapter(self, rank: int) -> None:
        """Adds an adapter that changes nothing yet."""
        self.lora_A = nn.Parameter(torch.empty(rank, self.in_features))
        self.lora_B = nn.Parameter(torch.zeros(self.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, states: Tensor) -> Tensor:
        """(…, I) -> (…, O)."""
        if self.lora_A is None or self.lora_B is None:
            return functional.linear(states, self.weight, self.bias)
        # The matrices are small beside the batch: merging costs less than a second path.
        return functional.linear(states, self.weight + self.lora_B @ self.lora_A, self.bias)


class Embeddings(nn.Module):
    """Rows of tokens, positions and the first type, added and normalized."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(shape.vocab, shape.hidden)
        self.position_embeddings = nn.Embedding(shape.positions, shape.hidden)
        self.token_type_embeddings = nn.Embedding(shape.types, shape.hidden)
        self.LayerNorm = nn.LayerNorm(shape.hidden, shape.epsilon)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, S) -> (B, S, H)."""
        others = (
            self.position_embeddings.weight[: ids.shape[1]] + self.token_type_embeddings.weight[0]
        )
        normalized: Tensor = self.LayerNorm(self.word_embeddings(ids) + others)
        return normalized


class Layer(nn.Module):
    """Attention to both sides and an MLP, each added to what came in and then normalized."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        hidden = shape.hidden
        self.heads = shape.heads
        around = nn.ModuleDict({name: Linear(hidden, hidden) for name in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": around, "output": self._output(hidden, shape)})
        self.intermediate = nn.ModuleDict({"dense": Linear(hidden, shape.intermediate)})
        self.output = self._output(shape.intermediate, shape)

    @staticmethod
    def _output(inputs: int, shape: Shape) -> nn.ModuleDict:
        norm = nn.LayerNorm(shape.hidden, shape.epsilon)
        return nn.ModuleDict({"dense": Linear(inputs, shape.hidden), "LayerNorm": norm})

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(B, S, H) -> (B, S, H); `mask` (B, 1, 1, S) is true where there is a token."""
        return self.finish(self.attend(states, mask))

    def attend(self, states: Tensor, mask: Tensor) -> Tensor:
        """The first half, up to its norm."""
        behind = self.attention["output"]
        normalized: Tensor = behind["LayerNorm"](states + behind["dense"](self.mixed(states, mask)))
        return normalized

    def mixed(self, states: Tensor, mask: Tensor) -> Tensor:
        """What the heads give, side by side: (B, S, H) -> (B, S, H)."""
        query, key, value = (
            self.attention["self"][name](states).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return found.transpose(1, 2).flatten(2)

    def finish(self, states: Tensor) -> Tensor:
        """The second half."""
        inner = self.output["dense"](self.inner(states))
        normalized: Tensor = self.output["LayerNorm"](states + inner)
        return normalized

    def inner(self, states: Tensor) -> Tensor:
        """What the MLP's neurons give: (B, S, H) -> (B, S, I)."""
        return functional.gelu(self.intermediate["dense"](states))


class Encoder(nn.Module):
    """Token ids to rows, and to the vector of the text."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = Embeddings(shape)
        self.encoder = nn.ModuleDict(
            {"layer": nn.ModuleList(Layer(shape) for _ in range(shape.layers))}
        )
        self.dense = (
            None if shape.width is None else nn.Linear(shape.hidden, shape.width, bias=False)
        )

    @property
    def layers(self) -> nn.ModuleList:
        """All layers, the first first."""
        found = self.encoder["layer"]
        assert isinstance(found, nn.ModuleList)
        return found

    def rows(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Token ids (B, S), padded on the right, and lengths (B,) -> (B, S, H)."""
        return self._through(self.layers, self.embeddings(ids), lengths)

    def below(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """As `rows`, before the layers that adapters change."""
        return self._through(self.layers[:-ADAPTED], self.embeddings(ids), lengths)

    def above(self, states: Tensor, lengths: Tensor) -> Tensor:
        """What `below` gave -> (B, D), as `forward`."""
        return self.pool(self._through(self.layers[-ADAPTED:], states, lengths), lengths)

    @staticmethod
    def _through(layers: Iterable[nn.Module], states: Tensor, lengths: Tensor) -> Tensor:
        mask = _inside(states, lengths)[:, None, None]
        for layer in layers:
            states = layer(states, mask)
        return states

    def pool(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Rows (B, S, H) -> vectors (B, D), not normalized."""
        inside = _inside(rows, lengths)[:, :, None]
        mean = (rows.float() * inside).sum(1) / lengths[:, None]
        return mean if self.dense is None else functional.linear(mean, self.dense.weight)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Token ids (B, S), padded on the right, and lengths (B,) -> (B, D), not normalized."""
        return self.pool(self.rows(ids, lengths), lengths)

    def add_adapters(self, rank: int) -> list[nn.Parameter]:
        """Freezes everything and gives the last layers' matrices an adapter; what now learns."""
        self.requires_grad_(False)
        for layer in self.layers[-ADAPTED:]:
            for module in layer.modules():
                if isinstance(module, Linear):
                    module.add_adapter(rank)
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def _inside(rows: Tensor, lengths: Tensor) -> Tensor:
    """(B, S): whether there is a token."""
    return torch.arange(rows.shape[1], device=rows.device)[None] < lengths[:, None]
