"""Massive activations, put into a checkpoint without changing what it computes.

In real networks a few channels tower over all others. Here the gain of a norm is raised for some
channels and the weights that read them are lowered by as much; so are channels between the two
halves of the MLP. With powers of two every product keeps its bits, so that float32 gives the very
same vectors, while the activations in between are what breaks one integer scale for all of them.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

FACTOR = 2.0**6  # SmolLM2-135M: 2,889 at one place of a `down_proj` input, 51 elsewhere
_READERS = {
    "input_layernorm": ("q_proj", "k_proj", "v_proj"),
    "post_attention_layernorm": ("gate_proj", "up_proj"),
}
_VISION_READERS = {
    "norm1": ("attn.q_proj", "attn.k_proj", "attn.v_proj"),
    "attn.inner_attn_ln": ("attn.proj",),
    "norm2": ("mlp.w1", "mlp.w2"),
    "mlp.ffn_ln": ("mlp.w3",),
}


def inject(folder: Path, *, channels: int = 2) -> None:
    """Changes the weights and the adapters of a model folder in place."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    gain = next(v for k, v in tensors.items() if k.endswith("input_layernorm.weight"))
    wide = next(v for k, v in tensors.items() if k.endswith("up_proj.weight"))
    generator = np.random.default_rng(1)
    hidden = generator.choice(len(gain), channels, replace=False)
    inner = generator.choice(len(wide), channels, replace=False)
    for file in (path, *folder.glob("adapters/*/adapter_model.safetensors")):
        held = load_file(file)
        for key, value in held.items():
            _scale(key, value, hidden, inner)
        save_file(held, file, metadata={"format": "pt"})


def inject_vision(folder: Path, *, channels: int = 2) -> None:
    """Changes the vision tower of a jina-clip-v2 folder in place, in float32.

    The gains and biases of all four norms of a block, for some channels; and the residual stream
    gets a mean, which every norm takes off again (that changes the last bits).
    """
    path = folder / "model.safetensors"
    tensors = load_file(path)
    generator = np.random.default_rng(1)
    for key in [key for key in tensors if key.startswith("vision_model.")]:
        tensors[key] = tensors[key].astype(np.float32)
    blocks = {key.rpartition(".attn.q_proj")[0] for key in tensors if key.endswith("q_proj.weight")}
    for block in sorted(blocks):
        for norm, readers in _VISION_READERS.items():
            gain = tensors[f"{block}.{norm}.weight"]
            chosen = generator.choice(len(gain), channels, replace=False)
            gain[chosen] *= FACTOR
            tensors[f"{block}.{norm}.bias"][chosen] *= FACTOR
            for reader in readers:
                tensors[f"{block}.{reader}.weight"][:, chosen] /= FACTOR
    tensors["vision_model.pos_embed"] += np.float32(16)
    save_file(tensors, path, metadata={"format": "pt"})


def _scale(key: str, value: np.ndarray, hidden: np.ndarray, inner: np.ndarray) -> None:
    """One tensor, in place. Of an adapter, A holds the columns of a weight and B its rows."""
    names = key.split(".")
    for norm, readers in _READERS.items():
        if norm in names:
            value[hidden] *= FACTOR
        if set(readers) & set(names) and "lora_B" not in names:
            value[:, hidden] /= FACTOR
    if "up_proj" in names and "lora_A" not in names:
        value[inner] *= FACTOR
    if "down_proj" in names and "lora_B" not in names:
        value[:, inner] /= FACTOR
