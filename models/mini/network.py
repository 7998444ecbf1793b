"""The student: Qwen3's decoder in PyTorch, its last token the vector, with LoRA beside each matrix.

Written out here rather than taken from transformers because only the last token is wanted: the
last layer then needs keys and values of all tokens but queries and MLP of one, which saves a
fifth of the work of four layers. Parameter names are those of the checkpoint.
Source: Qwen3 technical report (arXiv 2505.09388); LoRA (arXiv 2106.09685).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network, named as in `seeded.decoder_layouts`."""

    vocab: int
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    head_dim: int = 64
    intermediate: int = 640
    rope_theta: float = 3_500_000.0
    epsilon: float = 1e-6


class Linear(nn.Linear):
    """A matrix without bias, to which an adapter of low rank may be added."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.lora_A: nn.Parameter | None = None
        self.lora_B: nn.Parameter | None = None
        self.scale = 0.0

    def add_adapter(self, rank: int, scale: float) -> None:
        """Freezes the matrix and adds an adapter that changes nothing yet."""
        self.weight.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.empty(rank, self.in_features))
        self.lora_B = nn.Parameter(torch.zeros(self.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scale = scale

    def forward(self, states: Tensor) -> Tensor:
        """(…, I) -> (…, O)."""
        if self.lora_A is None or self.lora_B is None or self.scale == 0:
            return functional.linear(states, self.weight)
        # The matrices are small beside the batch: merging costs less than a second path.
        return functional.linear(states, self.weight + self.scale * (self.lora_B @ self.lora_A))


class Attention(nn.Module):
    """Causal attention with normalized queries and keys, rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.head_dim, self.epsilon = shape.heads, shape.head_dim, shape.epsilon
        wide = shape.heads * shape.head_dim
        self.q_proj, self.k_proj, self.v_proj = (Linear(shape.hidden, wide) for _ in range(3))
        self.o_proj = Linear(wide, shape.hidden)
        self.q_norm, self.k_norm = (Scale(shape.head_dim, shape.epsilon) for _ in range(2))

    def forward(self, states: Tensor, rotary: Tensor, last: Tensor | None) -> Tensor:
        """(B, S, H) -> (B, S, H), or (B, 1, H) where `last` (B,) names the only queries."""
        keys = _rotate(self.k_norm(self._split(self.k_proj(states))), rotary)
        values = self._split(self.v_proj(states))  # (B, heads, S, head_dim)
        if last is None:
            queries = _rotate(self.q_norm(self._split(self.q_proj(states))), rotary)
            # Padding stands on the right: causal attention of a real token never sees it.
            mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        else:
            rows = torch.arange(len(last), device=last.device)
            queries = self.q_norm(self._split(self.q_proj(states[rows, last][:, None])))
            queries = _rotate(queries, rotary[:, last][:, :, None, None])
            places = torch.arange(states.shape[1], device=last.device)
            seen = places[None, :] <= last[:, None]  # (B, S)
            mixed = functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=seen[:, None, None]
            )
        return self.o_proj(mixed.transpose(1, 2).flatten(2))

    def _split(self, states: Tensor) -> Tensor:
        """(B, S, heads * head_dim) -> (B, heads, S, head_dim)."""
        return states.unflatten(2, (self.heads, self.head_dim)).transpose(1, 2)


class Scale(nn.Module):
    """RMSNorm (arXiv 1910.07467)."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, states: Tensor) -> Tensor:
        """(…, H) -> (…, H)."""
        # In float32, as the weight: mixed kinds have no fast kernel.
        return functional.rms_norm(states.float(), self.weight.shape, self.weight, self.epsilon)


class Layer(nn.Module):
    """Attention and SwiGLU, each after a norm and added to what came in."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = Scale(shape.hidden, shape.epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Scale(shape.hidden, shape.epsilon)
        self.mlp = nn.ModuleDict(
            {
                "gate_proj": Linear(shape.hidden, shape.intermediate),
                "up_proj": Linear(shape.hidden, shape.intermediate),
                "down_proj": Linear(shape.intermediate, shape.hidden),
            }
        )

    def forward(self, states: Tensor, rotary: Tensor, last: Tensor | None) -> Tensor:
        """(B, S, H) -> (B, S, H), or (B, 1, H) where `last` (B,) names the only wanted places."""
        mixed = self.self_attn(self.input_layernorm(states), rotary, last)
        if last is not None:
            states = states[torch.arange(len(last), device=last.device), last][:, None]
        states = states + mixed
        inner = self.post_attention_layernorm(states)
        mlp = self.mlp
        return states + mlp["down_proj"](
            functional.silu(mlp["gate_proj"](inner)) * mlp["up_proj"](inner)
        )


class Student(nn.Module):
    """Token ids to the vector of the last token."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Scale(shape.hidden, shape.epsilon)
        powers = torch.arange(0, shape.head_dim, 2) / shape.head_dim
        self._frequencies: Tensor  # (head_dim / 2,)
        self.register_buffer("_frequencies", shape.rope_theta**-powers, persistent=False)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Token ids (B, S), padded on the right, and lengths (B,) -> (B, H), not normalized."""
        places = torch.arange(ids.shape[1], device=ids.device)
        angles = places[:, None] * self._frequencies  # (S, head_dim / 2)
        rotary = torch.stack([angles.cos(), angles.sin()])  # (2, S, head_dim / 2)
        states, last = self.embed_tokens(ids), lengths - 1
        for layer in self.layers[:-1]:
            states = layer(states, rotary, None)
        return self.norm(self.layers[-1](states, rotary, last))[:, 0]

    @contextmanager
    def plain(self) -> Iterator[None]:
        """The base's own vectors, for as long as it lasts: the adapters are left out."""
        adapted = [module for module in self.modules() if isinstance(module, Linear)]
        scales = [module.scale for module in adapted]
        for module in adapted:
            module.scale = 0.0
        try:
            yield
        finally:
            for module, scale in zip(adapted, scales, strict=True):
                module.scale = scale

    def add_adapters(self, rank: int, scale: float) -> list[nn.Parameter]:
        """Freezes everything and gives each matrix an adapter; the parameters that now learn."""
        self.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, Linear):
                module.add_adapter(rank, scale)
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


def _rotate(states: Tensor, rotary: Tensor) -> Tensor:
    """Turns the halves of (B, heads, S, head_dim) by cosine and sine, (2, …, S, head_dim / 2)."""
    first, second = states.chunk(2, dim=-1)
    cosine, sine = rotary.to(states.dtype)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
