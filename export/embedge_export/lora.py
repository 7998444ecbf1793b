"""LoRA adapters as PEFT writes them, merged into the weights they were trained on.

Takes an adapter folder (adapter_config.json, adapter_model.safetensors) and the base weights.
Gives `MergedWeights`: for every touched weight W + (B @ A) * scaling, in float32.

An adapter that is read wrongly still gives plausible vectors, so nothing is skipped: every tensor
must be understood, every module that the configuration names must have its pair, and every setting
that changes the result and is not done here is an error that names it.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedge.errors import AdapterError, SourceError
from embedge_export.weights import SafetensorsWeights, Weights, open_file

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"

# Fields that `load_adapter` acts on.
_USED = (
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "init_lora_weights",
)
# Fields that say how the adapter was trained or kept, and change nothing once it is.
_HARMLESS = (
    "task_type",
    "auto_mapping",
    "peft_version",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "ensure_weight_tying",
)
# Starting points that leave the base weights alone. The others (pissa, olora, corda, loftq …) also
# change the base, so that W + B @ A over the published base is not what was trained.
_FAITHFUL_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
_OFF: tuple[Any, ...] = (None, False, "none", "", [], {})
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(\.default)?\.weight")


@dataclass(frozen=True, slots=True)
class _Pair:
    """One adapted module: tensor names of A (rank, in) and B (out, rank), and the factor."""

    a: str
    b: str
    scaling: float


class Delta(Protocol):
    """What one task adds to a network's weights.

    Attributes:
        touched: keys of the weights that it changes.
    """

    touched: frozenset[str]

    def delta(self, key: str) -> NDArray[np.float32]:
        """What is added to the weight `key`, of its shape."""
        ...


class Adapter(Delta):
    """A checked adapter: what it adds to which base weights."""

    def __init__(self, name: str, tensors: SafetensorsWeights, pairs: Mapping[str, _Pair]) -> None:
        self.name = name
        self.touched = frozenset(pairs)  # base keys
        self._tensors = tensors
        self._pairs = dict(pairs)

    def delta(self, key: str) -> NDArray[np.float32]:
        """What is added to the base weight `key`: (out, in)."""
        pair = self._pairs[key]
        # (out, rank) @ (rank, in) -> (out, in)
        delta = self._tensors.read(pair.b) @ self._tensors.read(pair.a)
        delta *= np.float32(pair.scaling)
        return delta


class MergedWeights:
    """Base weights with an adapter merged in as they are read. Implements `Weights`."""

    def __init__(self, base: Weights, adapter: Delta | None) -> None:
        self._base = base
        self._adapter = adapter

    def keys(self) -> Collection[str]:
        """Names of the tensors: the base's."""
        return self._base.keys()

    def __contains__(self, key: object) -> bool:
        return key in self._base

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, known without reading it."""
        return self._base.shape(key)

    def touches(self, key: str) -> bool:
        """Whether the adapter changes this tensor; the others are the base's, bit for bit."""
        return self._adapter is not None and key in self._adapter.touched

    def read(self, key: str) -> NDArray[np.float32]:
        """The merged tensor, C-contiguous, read anew at each call."""
        weight = self._base.read(key)
        if self._adapter is not None and key in self._adapter.touched:
            weight += self._adapter.delta(key)
        return weight


def load_adapter(folder: Path, base: Weights) -> Adapter:
    """Reads and checks the adapter in `folder`; its name is the folder's.

    Raises:
        AdapterError: it is incomplete, damaged, does not fit `base`, or uses a feature that plain
            merging does not reproduce.
    """
    config_path, path = adapter_files(folder)
    config = _read_config(config_path)
    try:
        tensors = open_file(path)
    except SourceError as error:
        raise AdapterError(str(error)) from error
    sides, inner = _find_sides(path, tensors, base)
    pairs: dict[str, _Pair] = {}
    for key, names in sides.items():
        for side in "AB":
            if side not in names:
                raise AdapterError(
                    f"{path}: lora_{side} for {key!r} is missing; half an adapter cannot be "
                    "merged. Download or save the adapter again"
                )
        pair = _Pair(names["A"], names["B"], 0.0)
        module = inner + key.removesuffix(".weight")
        rank, scaling = _scaling(config, module)
        _check_pair(path, tensors, pair, rank=rank, key=key, shape=base.shape(key))
        pairs[key] = _Pair(pair.a, pair.b, scaling)
    for key in sorted(base.keys()):
        if key not in pairs and _is_target(config, base, key, inner):
            raise AdapterError(
                f"{path} has no tensors for {key!r}, which target_modules of {CONFIG} names; "
                "half an adapter cannot be merged. Download or save the adapter again"
            )
    if not pairs:
        raise AdapterError(f"{path} adapts nothing; download or save the adapter again")
    return Adapter(folder.name, tensors, pairs)


def adapter_files(folder: Path) -> tuple[Path, Path]:
    """Configuration and tensors of an adapter.

    Raises:
        AdapterError: one of them, or the folder, is missing.
    """
    if not (folder / CONFIG).exists():
        raise AdapterError(
            f"{folder} has no {CONFIG}; download the adapter of this task, leave the task out, or "
            "move the folder elsewhere if it is not an adapter"
        )
    if not (folder / TENSORS).exists():
        pickle = " (adapter_model.bin is pickle, which can run code: not read)"
        raise AdapterError(
            f"{folder} has no {TENSORS}{pickle if (folder / 'adapter_model.bin').exists() else ''}"
            "; load the adapter with peft and save_pretrained it, which writes safetensors"
        )
    return folder / CONFIG, folder / TENSORS


def _read_config(path: Path) -> dict[str, Any]:
    """adapter_config.json, refused unless plain merging reproduces it."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"{path} is not JSON: {error}; download the adapter again") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{path} is not a JSON object; download the adapter again")

    def refuse(field: str, reason: str) -> AdapterError:
        return AdapterError(
            f"{path}: {field} is {config.get(field)!r}, {reason}. Merge the adapter with peft "
            "(merge_and_unload), save the model, and export that"
        )

    if config.get("peft_type") != "LORA":
        raise refuse("peft_type", "and only LORA can be merged")
    for field, value in config.items():
        if field not in _USED + _HARMLESS and value not in _OFF:
            raise refuse(field, "which changes the result and is not supported")
    if config.get("init_lora_weights") not in _FAITHFUL_STARTS:
        raise refuse("init_lora_weights", "which also changes the base weights")
    rank = config.setdefault("r", 8)  # PEFT's own defaults, where a field is left out
    alpha = config.setdefault("lora_alpha", 8)
    if not _is_number(rank) or rank != int(rank) or rank < 1:
        raise refuse("r", "not a whole number above 0")
    if not _is_number(alpha):
        raise refuse("lora_alpha", "not a number")
    for field in ("rank_pattern", "alpha_pattern"):
        pattern = config.get(field) or {}
        if not isinstance(pattern, dict) or not all(map(_is_number, pattern.values())):
            raise refuse(field, "not an object of numbers")
        if not all(map(_is_regex, pattern)):
            raise refuse(field, "with a key that is no regular expression")
    targets = config.get("target_modules")
    if not (isinstance(targets, str) and _is_regex(targets)) and not _is_list_of(targets, str):
        raise refuse("target_modules", "neither a list of names nor a regular expression")
    excluded = config.get("exclude_modules") or []
    if not (isinstance(excluded, str) and _is_regex(excluded)) and not _is_list_of(excluded, str):
        raise refuse("exclude_modules", "neither a list of names nor a regular expression")
    layers = config.get("layers_to_transform")
    if layers is not None and not isinstance(layers, int) and not _is_list_of(layers, int):
        raise refuse("layers_to_transform", "neither a number nor a list of numbers")
    patterns = config.get("layers_pattern") or []
    if not isinstance(patterns, str) and not _is_list_of(patterns, str):
        raise refuse("layers_pattern", "neither a name nor a list of names")
    return config


def _find_sides(
    path: Path, tensors: SafetensorsWeights, base: Weights
) -> tuple[dict[str, dict[str, str]], str]:
    """Base key -> side ("A", "B") -> tensor name; and the prefix that modules had in training.

    An adapter trained on a causal language model names `model.layers…`, where the plain network
    (and `base`) says `layers…`; patterns in the configuration mean the former.
    """
    sides: dict[str, dict[str, str]] = {}
    inner = ""
    for name in sorted(tensors.keys()):
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise AdapterError(
                f"{path}: tensor {name!r} is not a lora_A or lora_B of a linear layer, and would "
                "be lost. Merge the adapter with peft (merge_and_unload) and export that"
            )
        module = match["module"]
        key = f"{module}.weight"
        if key not in base and module.startswith("model."):
            key, inner = key.removeprefix("model."), "model."
        if key not in base:
            raise AdapterError(
                f"{path}: tensor {name!r} belongs to {module!r}, which the base model does not "
                "have; is this the adapter of another model?"
            )
        if match["side"] in sides.setdefault(key, {}):
            raise AdapterError(f"{path}: {key!r} has lora_{match['side']} twice; save it again")
        sides[key][match["side"]] = name
    return sides, inner


def _check_pair(
    path: Path,
    tensors: SafetensorsWeights,
    pair: _Pair,
    *,
    rank: int,
    key: str,
    shape: tuple[int, ...],
) -> None:
    if len(shape) != 2:
        raise AdapterError(f"{path}: {key!r} has shape {shape} in the base, not that of a linear")
    for name, expected in ((pair.a, (rank, shape[1])), (pair.b, (shape[0], rank))):
        if tensors.shape(name) != expected:
            raise AdapterError(
                f"{path}: tensor {name!r} has shape {tensors.shape(name)}; the base weight "
                f"{shape} and rank {rank} of {CONFIG} ask for {expected}. Is this the adapter of "
                "another model, or another configuration?"
            )
        try:
            tensors.read(name)
        except SourceError as error:
            raise AdapterError(str(error)) from error


def _scaling(config: Mapping[str, Any], module: str) -> tuple[int, float]:
    """Rank of a module, and the factor of its B @ A."""
    rank = int(_by_pattern(config.get("rank_pattern") or {}, module, config["r"]))
    alpha = float(_by_pattern(config.get("alpha_pattern") or {}, module, config["lora_alpha"]))
    return rank, alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _by_pattern(patterns: Mapping[str, float], module: str, default: float) -> float:
    """The first pattern that matches the whole module name, or its end from a dot on, decides."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _is_target(config: Mapping[str, Any], base: Weights, key: str, inner: str) -> bool:
    """Whether the configuration names the module of a base weight, by PEFT's rules."""
    if not key.endswith(".weight") or len(base.shape(key)) != 2:
        return False
    module = inner + key.removesuffix(".weight")
    excluded = config.get("exclude_modules") or []
    if _named_by(excluded, module):
        return False
    targets = config["target_modules"]
    if isinstance(targets, str) and targets.lower() == "all-linear":
        # Tables are 2-D too, but no linear layers; nor is the output head meant.
        return "embed" not in module and not module.endswith("lm_head")
    if not _named_by(targets, module):
        return False
    layers = config.get("layers_to_transform")
    if isinstance(targets, str) or layers is None or layers == []:
        return True
    return _layer_of(config, module) in (layers if isinstance(layers, list) else [layers])


def _named_by(names: str | list[str], module: str) -> bool:
    """A string is a regular expression for the whole name; a list holds names or their ends."""
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names)


def _layer_of(config: Mapping[str, Any], module: str) -> int | None:
    patterns = config.get("layers_pattern") or [r"[^.]*"]
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        # The first number, where a name has several.
        if match := re.match(rf"(?:^|.*?\.){pattern}\.(?P<layer>\d+)\.", module):
            return int(match["layer"])
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_list_of(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _is_regex(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True
