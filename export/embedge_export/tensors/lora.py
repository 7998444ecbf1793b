"""LoRA adapters as PEFT writes them, merged into the weights they were trained on.

Takes an adapter folder (adapter_config.json, adapter_model.safetensors) and the base weights.
Gives `MergedWeights`: for every adapted weight W + (B @ A) * scaling, in float32.

An adapter that is read wrongly still gives plausible vectors, so nothing is skipped: every tensor
must be understood, every module that the configuration names must have its pair, and every setting
that changes the result and is not done here is an error that names it.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedge.errors import AdapterError, SourceError
from embedge_export.numbers.exact import fine_product
from embedge_export.tensors.adapter_config import read_adapter_config
from embedge_export.tensors.checkpoint import SafetensorsWeights, open_file
from embedge_export.tensors.weights import Weights

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"

_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(\.default)?\.weight")


@dataclass(frozen=True, slots=True)
class _Pair:
    """One adapted module: tensor names of A (rank, in) and B (out, rank), and the factor."""

    a: str
    b: str
    scaling: float


@dataclass(frozen=True, slots=True)
class _Trained:
    """What the names of modules began with in training, and no longer do, or the reverse."""

    added: str = ""
    dropped: str = ""

    def module(self, key: str) -> str:
        """The module of a weight, as training called it."""
        return self.added + key.removeprefix(self.dropped).removesuffix(".weight")


class Delta(Protocol):
    """What one task adds to a network's weights.

    Attributes:
        adapted: keys of the weights that it changes.
    """

    adapted: frozenset[str]

    def delta(self, key: str) -> NDArray[np.float32]:
        """What is added to the weight `key`, of its shape."""
        ...

    def rows(self, key: str, places: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """`delta(key)[places]`, of a table whose other rows need no work."""
        return np.asarray(self.delta(key)[places])


class Adapter(Delta):
    """A checked adapter: what it adds to which base weights."""

    def __init__(self, name: str, tensors: SafetensorsWeights, pairs: Mapping[str, _Pair]) -> None:
        self.name = name
        self.adapted = frozenset(pairs)  # base keys
        self._tensors = tensors
        self._pairs = dict(pairs)

    def delta(self, key: str) -> NDArray[np.float32]:
        """What is added to the base weight `key`: (out, in)."""
        pair = self._pairs[key]
        # (out, rank) @ (rank, in) -> (out, in)
        delta = fine_product(self._tensors.read(pair.b), self._tensors.read(pair.a).T)
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
        return self._adapter is not None and key in self._adapter.adapted

    def read(self, key: str) -> NDArray[np.float32]:
        """The merged tensor, C-contiguous, read again at each call."""
        weight = self._base.read(key)
        if self._adapter is not None and key in self._adapter.adapted:
            weight += self._adapter.delta(key)
        return weight

    def rows(self, key: str, places: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """See Weights."""
        rows = self._base.rows(key, places)
        if self._adapter is not None and key in self._adapter.adapted:
            rows += self._adapter.rows(key, places)
        return rows


def load_adapter(folder: Path, base: Weights) -> Adapter:
    """Reads and checks the adapter in `folder`; its name is the folder's.

    Raises:
        AdapterError: it is incomplete, damaged, does not fit `base`, or uses a feature that plain
            merging does not reproduce.
    """
    config_path, path = adapter_files(folder)
    config = read_adapter_config(config_path)
    try:
        tensors = open_file(path)
    except SourceError as error:
        raise AdapterError(str(error)) from error
    sides, trained = _find_sides(path, tensors, base)
    pairs: dict[str, _Pair] = {}
    for key, names in sides.items():
        for side in "AB":
            if side not in names:
                raise AdapterError(
                    f"{path}: lora_{side} for {key!r} is missing; half an adapter cannot be "
                    "merged. Download or save the adapter again"
                )
        pair = _Pair(names["A"], names["B"], 0.0)
        module = trained.module(key)
        rank, scaling = config.scaling(module)
        _check_pair(path, tensors, pair, rank=rank, key=key, shape=base.shape(key))
        if not config.targets(module):
            raise AdapterError(
                f"{path} has tensors for {key!r}, which {CONFIG} does not name in target_modules, "
                "or leaves out; peft would not use them. Save the adapter again"
            )
        pairs[key] = _Pair(pair.a, pair.b, scaling)
    for key in sorted(base.keys()):
        linear = key.endswith(".weight") and len(base.shape(key)) == 2
        if key not in pairs and linear and config.targets(trained.module(key)):
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


def _find_sides(
    path: Path, tensors: SafetensorsWeights, base: Weights
) -> tuple[dict[str, dict[str, str]], "_Trained"]:
    """Base key -> side ("A", "B") -> tensor name; and how modules were called in training.

    An adapter trained on a causal language model names `model.layers…`, where the plain network
    (and `base`) says `layers…`; one trained on BertModel names `encoder.layer…`, where a checkpoint
    may say `bert.encoder.layer…`. Patterns in the configuration mean the adapter's own names.
    """
    sides: dict[str, dict[str, str]] = {}
    trained = _Trained()
    outer = {key.partition(".")[2]: key for key in sorted(base.keys())}
    for name in sorted(tensors.keys()):
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise AdapterError(
                f"{path}: tensor {name!r} is not a lora_A or lora_B of a linear layer, and would "
                "be lost. Merge the adapter with peft (merge_and_unload) and export that"
            )
        module = match["module"]
        key = f"{module}.weight"
        if key not in base:
            first, _, rest = key.partition(".")
            if rest in base:
                key, trained = rest, _Trained(added=f"{first}.")
            elif key in outer:
                key, trained = outer[key], _Trained(dropped=outer[key].removesuffix(key))
        if key not in base:
            raise AdapterError(
                f"{path}: tensor {name!r} belongs to {module!r}, which the base model does not "
                "have; is this the adapter of another model?"
            )
        if match["side"] in sides.setdefault(key, {}):
            raise AdapterError(f"{path}: {key!r} has lora_{match['side']} twice; save it again")
        sides[key][match["side"]] = name
    return sides, trained


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
