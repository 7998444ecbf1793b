"""How checkpoints name the tensors of one BERT-like network, and the adapters stored among them.

Takes the tensors of a folder as they are called there; gives them under the names of
transformers' `jina_embeddings_v3` (`layers.0.self_attn.q_proj.weight`). The layouts:

- jina-embeddings-v3 and jina-clip-v2's text tower: `[text_model.transformer.][roberta.]encoder.
  layers.0.mixer.Wqkv`, q, k and v in one, every linear and table parametrized: the weight is
  `….parametrizations.weight.original`, and beside it stand `0.lora_A` and `0.lora_B` of all tasks.
- BERT and XLM-RoBERTa: `[bert.|roberta.]encoder.layer.0.attention.self.query`.
- DistilBERT: `[distilbert.]transformer.layer.0.attention.q_lin`.
- MPNet: `[mpnet.]encoder.layer.0.attention.attn.q`, `encoder.relative_attention_bias`.
- transformers' own: as it is.

Tensors are read one at a time, when they are asked for. Nothing here knows a size or a config.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.errors import AdapterError, SourceError
from embedge_export.numbers.exact import fine_product
from embedge_export.tensors.lora import Delta
from embedge_export.tensors.renamed import NamedWeights, Place
from embedge_export.tensors.weights import Weights

_MODELS = ("roberta.", "bert.", "distilbert.", "mpnet.", "model.")
# Heads and buffers: what a pooled text vector does not pass through, or what is computed again.
_UNUSED = re.compile(
    r"(pooler\.dense|classifier(\.(dense|out_proj))?|qa_outputs"
    r"|pre_classifier|vocab_(transform|layer_norm|projector)"
    r"|lm_head(\.(dense|layer_norm|decoder))?"
    r"|cls\.(seq_relationship|predictions(\.(decoder|transform\.(dense|LayerNorm)))?)"
    r")\.(weight|bias|gamma|beta)"
    r"|embeddings\.(position|token_type)_ids"
)
_PARAMETRISED = re.compile(r"(.+)\.parametrizations\.weight\.(original|0\.lora_A|0\.lora_B)")
_BLOCK = re.compile(
    r"(?:(?:encoder|transformer)\.)?layers?\.(\d{1,9})\.(.+)\.(weight|bias|gamma|beta)"
)
_QKV = tuple(f"self_attn.{side}_proj" for side in "qkv")
_MODULES = {
    "mixer.out_proj": "self_attn.o_proj",
    "norm1": "post_attention_layernorm",
    "norm2": "post_mlp_layernorm",
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.o_proj",
    "attention.output.LayerNorm": "post_attention_layernorm",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "output.LayerNorm": "post_mlp_layernorm",
    "attention.attn.q": "self_attn.q_proj",
    "attention.attn.k": "self_attn.k_proj",
    "attention.attn.v": "self_attn.v_proj",
    "attention.attn.o": "self_attn.o_proj",
    "attention.LayerNorm": "post_attention_layernorm",
    "attention.q_lin": "self_attn.q_proj",
    "attention.k_lin": "self_attn.k_proj",
    "attention.v_lin": "self_attn.v_proj",
    "attention.out_lin": "self_attn.o_proj",
    "sa_layer_norm": "post_attention_layernorm",
    "ffn.lin1": "mlp.fc1",
    "ffn.lin2": "mlp.fc2",
    "output_layer_norm": "post_mlp_layernorm",
}
_SIDES = {"gamma": "weight", "beta": "bias"}  # as the first BERT checkpoints call them


@dataclass(slots=True)
class _Stored:
    """Everything that the files hold of one weight."""

    original: Place | None = None
    sides: dict[str, Place] = field(default_factory=dict)  # "lora_A", "lora_B"


class StoredAdapter(Delta):
    """One task of the adapters that stand among a checkpoint's own weights.

    A linear's sides are A (tasks, rank, in) and B (tasks, out, rank), and B @ A is added; a
    table's are A (tasks, rows, rank) and B (tasks, rank, width), and A @ B is.
    """

    def __init__(
        self, stored: Weights, sides: Mapping[str, Mapping[str, Place]], task: int, scaling: float
    ) -> None:
        self.adapted = frozenset(sides)
        self._stored = stored
        self._sides = sides
        self._task = task
        self._scaling = np.float32(scaling)

    def delta(self, key: str) -> NDArray[np.float32]:
        """See Delta."""
        return self._product(*self._factors(key))

    def rows(self, key: str, places: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """See Delta."""
        left, right = self._factors(key)
        return self._product(left[places], right)

    def _factors(self, key: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rows of the weight by rank, and rank by its columns."""
        a, b = (self._sides[key][name] for name in ("lora_A", "lora_B"))
        left, right = (self._stored.read(place.name)[self._task] for place in (a, b))
        return (left, right) if _is_table(key) else (b.cut(right), left)

    def _product(
        self, left: NDArray[np.float32], right: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        product = fine_product(left, right.T)
        product *= self._scaling
        return product


@dataclass(frozen=True, slots=True)
class TextLayout:
    """A BERT-like checkpoint, understood.

    Attributes:
        weights: without any adapter.
        parametrized: whether adapters stand among the weights.
    """

    weights: NamedWeights
    _stored: Weights
    _sides: Mapping[str, Mapping[str, Place]]

    @property
    def parametrized(self) -> bool:
        """Whether adapters stand among the weights."""
        return bool(self._sides)

    def adapters(self, tasks: Sequence[str], rank: int, alpha: float) -> dict[str, StoredAdapter]:
        """The adapter of every task, in the order of the checkpoint's `lora_adaptations`.

        Raises:
            AdapterError: a linear or a table has no adapter, or one of another shape.
        """
        for key in sorted(self.weights.keys()):
            shape = self.weights.shape(key)
            if len(shape) != 2:
                continue
            places = self._sides.get(key, {})
            (rows, width), count = shape, len(tasks)
            expected = {"lora_A": (count, rank, width), "lora_B": (count, rows, rank)}
            if _is_table(key):
                expected = {"lora_A": (count, rows, rank), "lora_B": (count, rank, width)}
            for side, want in expected.items():
                if side not in places:
                    raise AdapterError(
                        f"{side} of {key!r} is missing; half an adapter cannot be merged. "
                        "Download the model again"
                    )
                place = places[side]
                got = self._stored.shape(place.name)
                if side == "lora_B" and place.parts > 1:
                    want = (count, rows * place.parts, rank)
                if got != want:
                    raise AdapterError(
                        f"tensor {place.name!r} has shape {got}; {count} adapters of rank {rank}, "
                        f"as config.json says, ask for {want}"
                    )
                try:
                    self._stored.read(place.name)  # looks for NaN
                except SourceError as error:
                    raise AdapterError(str(error)) from error
        return {
            task: StoredAdapter(self._stored, self._sides, index, alpha / rank)
            for index, task in enumerate(tasks)
        }


def text_layout(stored: Weights, *, prefix: str = "") -> TextLayout:
    """Understands the names of a BERT-like network's tensors.

    Names that no layout has stay as they are, for the check against the config to refuse.

    Args:
        stored: the checkpoint.
        prefix: of the network's names, where it is one of two; all others are left out.

    Raises:
        SourceError: two tensors mean the same weight.
    """
    names = list(stored.keys())
    names = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    inner = next((m for m in _MODELS if any(name.startswith(m) for name in names)), "")
    found: dict[str, _Stored] = {}
    for name in names:
        full, short = prefix + name, name.removeprefix(inner)
        if _UNUSED.fullmatch(short):
            continue
        match = _PARAMETRISED.fullmatch(short)
        logical, kind = (f"{match[1]}.weight", match[2]) if match else (short, "original")
        for key, part, parts in _own_names(logical):
            place, entry = Place(full, part, parts), found.setdefault(key, _Stored())
            if kind != "original":
                entry.sides[kind.removeprefix("0.")] = place
            elif entry.original is None:
                entry.original = place
            else:
                raise SourceError(
                    f"tensors {entry.original.name!r} and {full!r} are both {key!r}; "
                    "save the model again"
                )
    places = {key: entry.original for key, entry in found.items() if entry.original is not None}
    sides = {key: entry.sides for key, entry in found.items() if entry.sides}
    for key in sides.keys() - places.keys():
        raise SourceError(f"the weights hold an adapter of {key!r} without the weight itself")
    return TextLayout(NamedWeights(stored, places), stored, sides)


def _own_names(name: str) -> list[tuple[str, int, int]]:
    """What a tensor is called here: name, part, parts; three names for q, k and v in one."""
    name = name.replace("emb_ln.", "embeddings.LayerNorm.", 1)
    match = _BLOCK.fullmatch(name)
    if match is None:
        stem, _, side = name.rpartition(".")
        return [(f"{stem}.{_SIDES.get(side, side)}", 0, 1)]
    index, module, side = match[1], match[2], _SIDES.get(match[3], match[3])
    modules = _QKV if module == "mixer.Wqkv" else (_MODULES.get(module, module),)
    return [
        (f"layers.{index}.{module}.{side}", part, len(modules))
        for part, module in enumerate(modules)
    ]


def _is_table(key: str) -> bool:
    return key.startswith("embeddings.")
