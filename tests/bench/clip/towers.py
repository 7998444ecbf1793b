"""jina-clip-v2's two towers in torch, for the peers: one vector for each text or image.

The image tower is EVA02 written plainly, with torch's own scaled_dot_product_attention; its modules
are called as the checkpoint calls its tensors. The text tower is transformers' own network with its
default attention, pooled by the mean. Imports nothing of embedge: it runs where the peers are.
Source: EVA-02, arXiv 2303.11331.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

PREFIX = "vision_model."
EPSILON = 1e-6


class Attention(nn.Module):
    """Over all tokens of an image; pairs of neighbors turn by where a patch is."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (
            nn.Linear(width, width, bias=False) for _ in range(3)
        )
        self.q_bias, self.v_bias = (nn.Parameter(torch.zeros(width)) for _ in range(2))
        self.inner_attn_ln = nn.LayerNorm(width, EPSILON)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        query = F.linear(x, self.q_proj.weight, self.q_bias)
        value = F.linear(x, self.v_proj.weight, self.v_bias)
        query, key, value = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (query, self.k_proj(x), value)
        )
        query, key = (turned(t, cosine, sine) for t in (query, key))
        x = F.scaled_dot_product_attention(query, key, value)
        return self.proj(self.inner_attn_ln(x.transpose(1, 2).flatten(-2)))


class Mlp(nn.Module):
    """SwiGLU with a norm before its last product."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Linear(width, inner), nn.Linear(width, inner)
        self.ffn_ln = nn.LayerNorm(inner, EPSILON)
        self.w3 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.w3(self.ffn_ln(F.silu(self.w1(x)) * self.w2(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)
        self.attn, self.mlp = Attention(width, heads), Mlp(width, inner)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), cosine, sine)
        return x + self.mlp(self.norm2(x))


class EvaTower(nn.Module):
    """Pixels (B, 3, size, size) -> (B, width); `config` is config.json's vision_config."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.size: int = config["image_size"]
        width, patch, head = config["width"], config["patch_size"], config["head_width"]
        inner, grid = int(width * config["mlp_ratio"]), config["image_size"] // patch
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, grid**2 + 1, width))
        self.blocks = nn.ModuleList(
            Block(width, width // head, inner) for _ in range(config["layers"])
        )
        self.norm = nn.LayerNorm(width, EPSILON)
        angles = rotary_angles(grid, head, config["pt_hw_seq_len"])
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patch_embed["proj"](pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x, self.cosine, self.sine)
        return self.norm(x[:, 0])


def rotary_angles(grid: int, head: int, trained: int) -> Tensor:
    """(1 + grid^2, head): 0 for the class token; then half by the row, half by the column."""
    axis = head // 2
    frequencies = 1 / 10000 ** (torch.arange(0, axis, 2).float() / axis)
    angles = (torch.arange(grid) / grid * trained)[:, None] * frequencies
    angles = angles.repeat_interleave(2, dim=1)  # (grid, axis)
    rows, columns = angles.repeat_interleave(grid, dim=0), angles.repeat(grid, 1)
    return torch.cat([torch.zeros(1, head), torch.cat([rows, columns], dim=1)])


def turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """(…, tokens, head) with every pair of neighbors turned."""
    pairs = x.unflatten(-1, (-1, 2))
    across = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)
    return x * cosine + across * sine


class MeanPooled(nn.Module):
    """Ids and mask (B, S) -> (B, D), the mean of the mask's tokens."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask[..., None].to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)


def image_tower(source: Path, dtype: torch.dtype = torch.float32) -> EvaTower:
    """The image tower of a jina-clip-v2 folder."""
    config = json.loads((source / "config.json").read_text())["vision_config"]
    with torch.device("meta"):
        tower = EvaTower(config)
    with safe_open(str(source / "model.safetensors"), framework="pt") as file:
        tensors = {
            key.removeprefix(PREFIX): file.get_tensor(key).to(dtype)
            for key in file.keys()  # noqa: SIM118 - not a dict
            if key.startswith(PREFIX)
        }
    tower.load_state_dict(tensors, strict=True, assign=True)
    grid = config["image_size"] // config["patch_size"]
    angles = rotary_angles(grid, config["head_width"], config["pt_hw_seq_len"])
    tower.cosine, tower.sine = angles.cos().to(dtype), angles.sin().to(dtype)
    return tower.eval()


def text_tower(source: Path, dtype: torch.dtype = torch.float32) -> MeanPooled:
    """The text tower of a folder in transformers' own layout, its adapter merged in."""
    from transformers import AutoModel

    return MeanPooled(AutoModel.from_pretrained(source, dtype=dtype)).eval()
