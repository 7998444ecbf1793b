"""A network of transformers in torch, in float32: loaded from a folder, run, its weights changed.

Takes a model folder; gives a `Network`, whose weights stand under the names of its own modules, as
peft's adapters name them. No code of a model is ever run and no pickle opened. It knows neither
graphs nor precisions.
"""

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from embedge.errors import SourceError
from embedge.reasons import reason_of
from embedge_export.families.optimum.quiet import quiet
from embedge_export.tensors.lora import MergedWeights
from embedge_export.tensors.weights import Weights

Array = NDArray[np.float32]
# What stands behind the rows and gives none of them.
_POOLER = re.compile(r"(.*\.)?pooler\..*")
_LAYER = re.compile(r"(?:.*\.)?[A-Za-z_]*(?:layers?|blocks?|h)\.(\d+)\.(.+)")


class Network:
    """A loaded network.

    Attributes:
        module: torch's.
        weights: as they were loaded, under the names of the network's modules.
        names: by a weight's key, what it is called in a graph: "layers.3.attention.self.query".
    """

    def __init__(self, module: Any) -> None:
        self.module = module.eval()
        self._tensors = {
            key: tensor for key, tensor in module.state_dict().items() if tensor.is_floating_point()
        }
        self.weights: Weights = _TorchWeights(self._tensors)
        self.names = _short_names(self._tensors)
        self._linears = {
            f"{path}.weight": linear
            for path, linear in module.named_modules()
            if isinstance(linear, torch.nn.Linear | transformers.pytorch_utils.Conv1D)
        }

    @property
    def layers(self) -> int:
        """How many layers there are that have weights of their own."""
        return len({n.split(".")[1] for n in self.names.values() if n.startswith("layers.")})

    @property
    def table(self) -> Any:
        """The module that looks tokens up."""
        return self.module.get_input_embeddings()

    @contextlib.contextmanager
    def holding(self, weights: Weights) -> Iterator[None]:
        """The network with a task's weights in it, for as long as this is open."""
        changed = weights.touches if isinstance(weights, MergedWeights) else lambda key: False
        before = {}
        try:
            with torch.no_grad():
                for key in filter(changed, self._tensors):
                    merged = torch.from_numpy(weights.read(key))
                    before[key] = self._tensors[key].clone()
                    self._tensors[key].copy_(merged)
            yield
        finally:
            with torch.no_grad():
                for key, tensor in before.items():
                    self._tensors[key].copy_(tensor)

    def rows(self, ids: NDArray[np.int32], mask: NDArray[np.int64] | None = None) -> Array:
        """The last hidden state: ids (texts, tokens) -> float32 (texts, tokens, hidden).

        Args:
            ids: of texts of one length, or padded.
            mask: 0 where padding is; none without it.
        """
        tokens = torch.from_numpy(ids.astype(np.int64))
        attended = torch.ones_like(tokens) if mask is None else torch.from_numpy(mask)
        try:
            with torch.no_grad(), quiet():
                found = self.module(input_ids=tokens, attention_mask=attended)
        except Exception as error:  # whatever a network raises of its own
            raise SourceError(
                f"transformers' {type(self.module).__name__} fails at a text of {ids.shape[1]} "
                f"tokens: {reason_of(error)}. If that is more than it was made for, correct "
                "max_seq_length in sentence_bert_config.json"
            ) from error
        return np.asarray(found[0].numpy(), np.float32)

    @contextlib.contextmanager
    def reading(self, see: Callable[[str, Any], None]) -> Iterator[None]:
        """Calls `see` with the name of every linear and the tensor that it reads, (…, in)."""
        with contextlib.ExitStack() as hooks:
            for key, linear in self._linears.items():

                def hook(_: Any, given: tuple[Any, ...], name: str = self.names[key]) -> None:
                    see(name, given[0])

                hooks.callback(linear.register_forward_pre_hook(hook).remove)
            yield

    @contextlib.contextmanager
    def changing(self, table: str, change: Callable[[str, Any], Any]) -> Iterator[None]:
        """Takes what `change` makes of a linear's result, or of the table's, by its name.

        Args:
            table: the name of the embedding table.
            change: called with a name and a tensor (…, out); gives one of its shape.
        """
        places = {self.names[key]: linear for key, linear in self._linears.items()}
        with contextlib.ExitStack() as hooks:
            for name, module in {table: self.table, **places}.items():

                def hook(_: Any, __: Any, result: Any, name: str = name) -> Any:
                    return change(name, result)

                hooks.callback(module.register_forward_hook(hook).remove)
            yield


class _TorchWeights:
    """Weights that torch holds. Implements `Weights`."""

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        self._tensors = tensors

    def keys(self) -> Collection[str]:
        """Names of the tensors."""
        return self._tensors.keys()

    def __contains__(self, key: object) -> bool:
        return key in self._tensors

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        return tuple(self._tensors[key].shape)

    def read(self, key: str) -> Array:
        """The tensor, C-contiguous, a copy at each call."""
        return np.array(self._tensors[key].detach().numpy(), np.float32, order="C")

    def rows(self, key: str, places: NDArray[np.integer[Any]]) -> Array:
        """See Weights."""
        return np.asarray(self.read(key)[places])


def load_network(folder: Path) -> Network:
    """Loads the network of a folder by transformers' own class for it, in float32.

    Raises:
        SourceError: transformers has no such class or cannot load it, or the weights are not all
            there, or not all used.
    """
    about = f"{folder}: transformers {transformers.__version__}"
    with quiet():
        try:
            module, found = transformers.AutoModel.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="eager",
                output_loading_info=True,
            )
        # Its classes raise whatever they like, and the user needs to know which model it is about.
        except Exception as error:
            if "trust_remote_code" in str(error):
                raise SourceError(
                    f"{about} knows this network from code in the model's folder alone, which is "
                    "never run; export a model whose network transformers has itself"
                ) from error
            raise SourceError(f"{about} cannot load it: {reason_of(error)}") from error
    missing = [key for key in found["missing_keys"] if not _POOLER.fullmatch(key)]
    if missing:
        raise SourceError(
            f"{folder}: the weights lack the tensor {missing[0]!r}, which transformers' class "
            f"{type(module).__name__} has; is the checkpoint complete?"
        )
    parts = {name for name, _ in (*module.named_children(), *module.named_parameters())}
    prefix = f"{module.base_model_prefix}."
    for key in sorted(found["unexpected_keys"]):
        # What stands beside the network's own parts is a head, of another use of it.
        if key.removeprefix(prefix).split(".")[0] in parts and not _POOLER.fullmatch(key):
            raise SourceError(
                f"{folder}: the weights have a tensor {key!r} that transformers' class "
                f"{type(module).__name__} does not use; leaving it out could change the vectors"
            )
    for key, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise SourceError(
                f"{folder}: tensor {key!r} holds NaN or infinity; the training run or the download "
                "failed. Get the model again"
            )
    return Network(module)


def _short_names(keys: Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    """Names by the number of their layer, "layers.3.…", for those weights that are in one."""
    names = {}
    for key in keys:
        path = key.removesuffix(".weight")
        match = _LAYER.fullmatch(path)
        names[key] = path if match is None else f"layers.{match[1]}.{match[2]}"
    if len(set(names.values())) < len(names):  # two stacks of layers
        return {key: key.removesuffix(".weight") for key in keys}
    return names
