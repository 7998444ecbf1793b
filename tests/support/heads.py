"""Puts another head onto a model's folder: pooling modes, and modules with seeded weights.

Files as Sentence Transformers writes them.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

NAMES = {"last_token": "lasttoken"}  # what Sentence Transformers calls it
NORMALIZE: dict[str, Any] = {"kind": "Normalize"}
LAYER_NORM: dict[str, Any] = {"kind": "LayerNorm"}
DROPOUT: dict[str, Any] = {"kind": "Dropout"}


def dense(outputs: int, activation: str = "Tanh", **fields: Any) -> dict[str, Any]:
    """A Dense module; `fields` are further ones of its settings."""
    return {"kind": "Dense", "outputs": outputs, "activation": activation, "fields": fields}


def write_head(
    folder: Path, modes: Sequence[str], modules: Sequence[dict[str, Any]] = (), *, seed: int = 0
) -> Path:
    """Rewrites the pooling and all that stands behind it.

    Args:
        folder: of a model whose network is `hidden_size` wide.
        modes: of `head.MODES`.
        modules: of those above, in their order.
        seed: of the weights.

    Returns:
        `folder`.
    """
    generator = np.random.default_rng(seed)
    hidden = json.loads((folder / "config.json").read_text())["hidden_size"]
    names = [NAMES.get(mode, mode) for mode in modes]
    entries = [("", "Transformer"), ("1_Pooling", "Pooling")]
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"embedding_dimension": hidden, "pooling_mode": names, "include_prompt": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    width = hidden * len(modes)
    for index, module in enumerate(modules, start=2):
        place = f"{index}_{module['kind']}"
        entries.append((place, module["kind"]))
        (folder / place).mkdir()
        settings, tensors = _content(module, width, generator)
        width = settings.get("out_features", width)
        (folder / place / "config.json").write_text(json.dumps(settings))
        if tensors:
            save_file(tensors, folder / place / "model.safetensors", metadata={"format": "pt"})
    listed = [
        {
            "idx": index,
            "name": str(index),
            "path": place,
            "type": f"sentence_transformers.models.{k}",
        }
        for index, (place, k) in enumerate(entries)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    return folder


def _content(
    module: dict[str, Any], width: int, generator: np.random.Generator
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    def draw(*shape: int, spread: float = 1.0, middle: float = 0.0) -> np.ndarray:
        return (middle + spread * generator.standard_normal(shape)).astype(np.float32)

    if module["kind"] == "Normalize":
        return {}, {}
    if module["kind"] == "Dropout":
        return {"dropout": 0.1}, {}
    if module["kind"] == "LayerNorm":
        tensors = {"norm.weight": draw(width, middle=1.0), "norm.bias": draw(width)}
        return {"dimension": width}, tensors
    library = "linear" if module["activation"] == "Identity" else "activation"
    outputs = module["outputs"]
    settings = {
        "in_features": width,
        "out_features": outputs,
        "bias": True,
        "activation_function": f"torch.nn.modules.{library}.{module['activation']}",
        "module_input_name": "sentence_embedding",
        "module_output_name": "sentence_embedding",
    } | module["fields"]
    spread = width**-0.5
    tensors = {"linear.weight": draw(outputs, width, spread=spread)}
    if settings["bias"]:
        tensors["linear.bias"] = draw(outputs)
    if settings.get("use_residual") and outputs != width:
        tensors["residual.weight"] = draw(outputs, width, spread=spread)
    return settings, tensors
