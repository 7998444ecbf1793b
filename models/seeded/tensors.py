"""Weights: which tensors a network has, their seeded values, and the files that hold them.

Takes `Dimensions` and a seed; writes bfloat16 safetensors of the network and of four LoRA
adapters. A tensor's values depend on the seed and its key alone. Knows no model by name.
"""

import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from seeded.decoder_layouts import TASKS, Dimensions
from seeded.files import write_json

# Weights: key -> (shape, spread). Where it is the gain of a norm, it is one around 1.
_GAIN = re.compile(r"(norm\d?|LayerNorm|_ln)\.weight$")
Plan = Mapping[str, tuple[tuple[int, ...], float]]


def plan_of(
    dims: Dimensions, *, qk_norm: bool = False, qkv_bias: bool = False, head: bool = False
) -> Plan:
    """Every tensor of the network, in the checkpoint's order; on request an output head.

    A spread of 0.64 / sqrt(width) is the usual 0.02 at width 1024. What writes to the residual
    stream is smaller by sqrt(2 * layers), so that it neither explodes nor drowns the tokens.
    """
    assert dims.vocab is not None
    reads = 0.64 / dims.hidden**0.5
    depth = (2 * dims.layers) ** 0.5
    query, key = dims.heads * dims.head_dim, dims.kv_heads * dims.head_dim
    plan: dict[str, tuple[tuple[int, ...], float]] = {
        "embed_tokens.weight": ((dims.vocab, dims.hidden), 0.1)
    }
    for layer in range(dims.layers):
        at, mlp = f"layers.{layer}.self_attn.", f"layers.{layer}.mlp."
        plan[f"layers.{layer}.input_layernorm.weight"] = ((dims.hidden,), 0.3)
        for name, width in (("q", query), ("k", key), ("v", key)):
            plan[f"{at}{name}_proj.weight"] = ((width, dims.hidden), reads)
            if qkv_bias:
                plan[f"{at}{name}_proj.bias"] = ((width,), 0.3)
            if qk_norm and name != "v":
                plan[f"{at}{name}_norm.weight"] = ((dims.head_dim,), 0.4)
        plan[f"{at}o_proj.weight"] = ((dims.hidden, query), 0.64 / query**0.5 / depth)
        plan[f"layers.{layer}.post_attention_layernorm.weight"] = ((dims.hidden,), 0.3)
        plan[f"{mlp}gate_proj.weight"] = ((dims.intermediate, dims.hidden), reads)
        plan[f"{mlp}up_proj.weight"] = ((dims.intermediate, dims.hidden), reads)
        plan[f"{mlp}down_proj.weight"] = (
            (dims.hidden, dims.intermediate),
            0.64 / dims.intermediate**0.5 / depth,
        )
    plan["norm.weight"] = ((dims.hidden,), 0.3)
    if head:
        plan["lm_head.weight"] = ((dims.vocab, dims.hidden), reads)
    return plan


def write_weights(
    folder: Path,
    plan: Plan,
    dims: Dimensions,
    *,
    seed: int,
    shards: int,
    prefix: str,
    outliers: bool,
) -> None:
    """Writes the planned tensors in bfloat16, cut into `shards` files of about one size."""
    total = 2 * sum(math.prod(shape) for shape, _ in plan.values())  # bytes
    keys = iter(plan)
    written = 0
    weight_map: dict[str, str] = {}
    for number in range(1, shards + 1):
        name = "model.safetensors"
        if shards > 1:
            name = f"model-{number:05}-of-{shards:05}.safetensors"
        tensors: dict[str, NDArray[Any]] = {}
        while written < total * number / shards:
            key = next(keys)
            values = _draw(seed, key, *plan[key])
            if outliers:
                _add_outliers(key, values, dims, seed)
            # A head stands beside the network, not in it.
            full = key if key.startswith("lm_head.") else prefix + key
            tensors[full] = values.astype(ml_dtypes.bfloat16)
            weight_map[full] = name
            written += tensors[full].nbytes
        save_file(tensors, folder / name, metadata={"format": "pt"})
    if shards > 1:
        index_file = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(folder / "model.safetensors.index.json", index_file)


def write_plan(folder: Path, plan: Plan, seed: int) -> None:
    """Writes the planned tensors in bfloat16, in one file, under their own names."""
    tensors = {key: _draw(seed, key, *plan[key]).astype(ml_dtypes.bfloat16) for key in plan}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def write_adapters(folder: Path, plan: Plan, dims: Dimensions, base: str, seed: int) -> None:
    """Four adapters on every linear layer; each changes a weight by about 15 % of its size."""
    for task in TASKS:
        place = folder / "adapters" / task
        place.mkdir(parents=True)
        tensors: dict[str, NDArray[Any]] = {}
        for key, (shape, spread) in plan.items():
            module = key.removesuffix(".weight")
            if key == module or not module.endswith(_PROJECTIONS):
                continue
            wide = shape[1] ** -0.5
            # The elements of B @ A have spread sqrt(rank) * spread(A) * spread(B).
            narrow = 0.15 * spread / (wide * dims.rank**0.5)
            sides = (("A", (dims.rank, shape[1]), wide), ("B", (shape[0], dims.rank), narrow))
            for side, shape_of_side, spread_of_side in sides:
                name = f"base_model.model.{module}.lora_{side}.weight"
                values = _draw(seed, f"{task}/{name}", shape_of_side, spread_of_side)
                tensors[name] = values.astype(ml_dtypes.bfloat16)
        save_file(tensors, place / "adapter_model.safetensors", metadata={"format": "pt"})
        dropout = 0.05 if task == "classification" else 0.1
        write_json(place / "adapter_config.json", adapter_config(base, dims.rank, dropout))


def adapter_config(base: str, rank: int, dropout: float) -> dict[str, Any]:
    """adapter_config.json as the real ones have it: every linear layer, a scaling of exactly 1."""
    return {
        "alpha_pattern": {},
        "auto_mapping": None,
        "base_model_name_or_path": base,
        "bias": "none",
        "corda_config": None,
        "eva_config": None,
        "exclude_modules": None,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": "gaussian",
        "layer_replication": None,
        "layers_pattern": None,
        "layers_to_transform": None,
        "loftq_config": {},
        "lora_alpha": rank,
        "lora_bias": False,
        "lora_dropout": dropout,
        "megatron_config": None,
        "megatron_core": "megatron.core",
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {},
        "revision": None,
        "target_modules": list(_PROJECTIONS),
        "task_type": "FEATURE_EXTRACTION",
        "trainable_token_indices": None,
        "use_dora": False,
        "use_rslora": False,
    }


def _draw(seed: int, key: str, shape: tuple[int, ...], spread: float) -> NDArray[np.float32]:
    """Values of one tensor; they depend on seed and key alone, not on what was drawn before."""
    generator = np.random.default_rng([seed, zlib.crc32(key.encode())])
    values = np.asarray(generator.standard_normal(shape, dtype=np.float32))
    values *= np.float32(spread)
    if _GAIN.search(key):
        np.exp(values, out=values)  # gains: around 1, never 0 or negative
    return values


def _add_outliers(key: str, values: NDArray[np.float32], dims: Dimensions, seed: int) -> None:
    """Gives some layers two intermediate channels and two hidden channels that tower.

    Gate and up times 8 makes the input of `down_proj` about 64 times as large there; rows of
    `down_proj` times 8 carry it to two channels of the residual stream. Powers of two: exact in
    bfloat16, and the network still computes with numbers of its own scale.
    """
    _, layer, *_ = (*key.split("."), "", "")
    if ".mlp." not in key or int(layer) not in {
        dims.layers // 4,
        dims.layers // 2,
        dims.layers - 1,
    }:
        return
    generator = np.random.default_rng([seed, zlib.crc32(b"outliers")])
    inner = generator.choice(dims.intermediate, 2, replace=False)
    outer = generator.choice(dims.hidden, 2, replace=False)
    if "down_proj" in key:
        values[:, inner] /= 4
        values[outer, :] *= 8
    else:
        values[inner, :] *= 8
