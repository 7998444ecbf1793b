"""Cuts the student out of the teacher: fewer pieces, layers and neurons, without training.

Each layer of the student stands for one or two of the teacher's. It takes the attention of one of
them; of the neurons of all it keeps those that matter most. What heads and neurons are multiplied
by is solved for by least squares: the student's row, from what the layers before gave it, is to be
the teacher's row behind the layers that it stands for. Neurons are left out as in Optimal Brain
Surgeon (Hassibi and Stork 1993), where the others make up for each.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from mini.batches import Tokens, by_length
from mini.descent import save
from mini.network import Encoder, Layer, Shape
from mini.targets import projection

# For each layer of the student the last of the teacher's that it stands for, counted from 1, and
# the one whose attention it takes.
SPANS = ((2, 1), (5, 4), (6, 6))
SAMPLE, LONGEST = 120_000, 128  # tokens that are solved for, and of a text
RIDGE = 1e-3  # of the mean square of the neurons
CANDIDATES = 4  # for each neuron that stays: the loudest ones
TOGETHER = 32  # neurons left out before errors are computed anew
Batch = tuple[Tensor, Tensor]  # ids (B, S), padded on the right, and lengths (B,)


def read_teacher(folder: Path) -> Encoder:
    """The teacher from its model folder, in float32."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    teacher = Encoder(
        Shape(
            vocab=config["vocab_size"],
            width=None,
            layers=config["num_hidden_layers"],
            intermediate=config["intermediate_size"],
            hidden=config["hidden_size"],
            heads=config["num_attention_heads"],
            positions=config["max_position_embeddings"],
            types=config["type_vocab_size"],
            epsilon=config["layer_norm_eps"],
        )
    )
    tensors = load_file(folder / "model.safetensors")
    unused = ("pooler.", "embeddings.position_ids")
    teacher.load_state_dict({n: t.float() for n, t in tensors.items() if not n.startswith(unused)})
    return teacher.eval().requires_grad_(False)


def with_pieces(teacher: Encoder, kept: NDArray[np.int64]) -> None:
    """Leaves the teacher these rows of its table, so that both take the same ids."""
    table = teacher.embeddings.word_embeddings.weight[torch.from_numpy(kept)]
    teacher.embeddings.word_embeddings = nn.Embedding.from_pretrained(table)


@torch.inference_mode()
def shrink(
    teacher: Encoder, shape: Shape, spans: Sequence[tuple[int, int]], matrix: NDArray[np.float32],
    sample: Sequence[Batch],
) -> Encoder:  # fmt: skip
    """A student that gives about the teacher's rows, turned by `matrix`.

    Args:
        teacher: of the pieces that are kept.
        shape: of the student.
        spans: for each of its layers the last of the teacher's layers that it stands for, from 1,
            and the one whose attention it takes.
        matrix: (H, D).
        sample: texts to solve for, some 100,000 tokens.
    """
    student = Encoder(shape)
    student.embeddings.load_state_dict(teacher.embeddings.state_dict())
    assert student.dense is not None
    student.dense.weight.copy_(torch.from_numpy(matrix).T)
    inside = [torch.arange(ids.shape[1])[None] < lengths[:, None] for ids, lengths in sample]
    masks = [found[:, None, None] for found in inside]
    states = [teacher.embeddings(ids) for ids, _ in sample]
    theirs, first = list(states), 0
    for layer, (last, attention) in zip(student.layers, spans, strict=True):
        group = range(first, last)
        final = teacher.layers[last - 1]
        layer.attention.load_state_dict(teacher.layers[attention - 1].attention.state_dict())
        layer.output["LayerNorm"].load_state_dict(final.output["LayerNorm"].state_dict())
        attended, behind = [], []  # the teacher's, before each norm
        for number, batch in enumerate(theirs):
            for place in group:
                half, whole, batch = _halves(teacher.layers[place], batch, masks[number])
                if place == attention - 1:
                    attended.append(half[inside[number]])
            behind.append(whole[inside[number]])
            theirs[number] = batch
        heads = [_reduced(layer.mixed, s, m) for s, m in zip(states, masks, strict=True)]
        rows = _flat(states, inside)
        _solve_heads(layer, _flat(heads, inside), torch.cat(attended) - rows)
        states = [_reduced(layer.attend, s, m) for s, m in zip(states, masks, strict=True)]
        rows = _flat(states, inside)
        _solve_neurons(
            layer, [teacher.layers[place] for place in group], rows, torch.cat(behind) - rows
        )
        states = [_reduced(layer.finish, s) for s in states]
        first = last
    return student


def _reduced(run: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """In bfloat16, whose rounding is far below what is cut away."""
    with torch.autocast("cpu", torch.bfloat16):
        return run(*inputs).float()


def _halves(layer: Layer, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A layer of the teacher: what stands before its first norm, its second, and behind it."""
    half = states + _reduced(
        layer.attention["output"]["dense"], _reduced(layer.mixed, states, mask)
    )
    attended = layer.attention["output"]["LayerNorm"](half)
    whole = attended + _reduced(layer.output["dense"], _reduced(layer.inner, attended))
    return half, whole, layer.output["LayerNorm"](whole)


def _flat(states: Sequence[Tensor], inside: Sequence[Tensor]) -> Tensor:
    """Rows (N, H) of all tokens."""
    return torch.cat([batch[there] for batch, there in zip(states, inside, strict=True)])


def _solve_heads(layer: Layer, heads: Tensor, wanted: Tensor) -> None:
    """Brings what the heads give, (N, H), nearest to `wanted` (N, H)."""
    rows = functional.pad(heads, (0, 1), value=1.0).double()
    moments, products = rows.T @ rows / len(rows), rows.T @ wanted.double() / len(rows)
    _, outer = _without(moments, products, len(heads[0]))
    _put(layer.attention["output"]["dense"], outer)


def _put(linear: nn.Module, outer: Tensor) -> None:
    """Gives a linear layer what `_without` found."""
    linear.weight.copy_(outer[:-1].T)
    linear.bias.copy_(outer[-1])


def _solve_neurons(layer: Layer, group: Sequence[Layer], rows: Tensor, wanted: Tensor) -> None:
    """Gives `layer` the neurons of `group` that bring rows (N, H) nearest to `wanted` (N, H)."""
    first = layer.intermediate["dense"]
    weights = torch.cat([one.intermediate["dense"].weight for one in group])
    biases = torch.cat([one.intermediate["dense"].bias for one in group])
    loudness = torch.cat([one.output["dense"].weight.norm(dim=0) for one in group])
    some = functional.gelu(rows[:: max(1, len(rows) // 4096)] @ weights.T + biases)
    taken = (loudness * some.square().mean(0).sqrt()).argsort(descending=True)
    taken = taken[: CANDIDATES * len(first.bias)]
    weights, biases = weights[taken], biases[taken]
    count = len(weights) + 1
    moments, products = torch.zeros(count, count), torch.zeros(count, len(wanted[0]))
    for part, aim in zip(rows.split(8192), wanted.split(8192), strict=True):
        neurons = functional.pad(functional.gelu(part @ weights.T + biases), (0, 1), value=1.0)
        moments += neurons.T @ neurons  # the last is the bias
        products += neurons.T @ aim
    size = len(first.bias)
    kept, outer = _without(moments.double() / len(rows), products.double() / len(rows), size)
    first.weight.copy_(weights[kept])
    first.bias.copy_(biases[kept])
    _put(layer.output["dense"], outer)


def _without(moments: Tensor, products: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Leaves out neurons until `size` are left: which those are, and what they are multiplied by.

    Args:
        moments: (I + 1, I + 1), mean products of neurons; the last is the constant 1, which stays.
        products: (I + 1, H), of neurons and what is wanted.
        size: how many neurons stay.
    """
    count = len(moments) - 1
    ridge = RIDGE * moments.diagonal()[:-1].mean()
    moments = moments + torch.diag(torch.full((count + 1,), float(ridge), dtype=moments.dtype))
    left = torch.arange(count + 1)
    while True:
        inner = moments[left][:, left]
        inverse = torch.linalg.inv(inner)
        outer = inverse @ products[left]
        surplus = len(left) - 1 - size
        if surplus <= 0:
            return left[:-1], outer
        # What leaving one out adds to the squared error, when the others are solved for again.
        errors = (outer.square().sum(1) / inverse.diagonal())[:-1]
        out = errors.argsort()[: min(surplus, max(TOGETHER, surplus // 3))]
        stays = torch.ones(len(left), dtype=torch.bool)
        stays[out] = False
        left = left[stays]


def write(teacher: Encoder, shape: Shape, tokens: Tokens, file: Path) -> None:
    """Makes a student of a sample of texts and writes its weights."""
    rows = np.random.default_rng(0).permutation(len(tokens.lengths))
    rows = rows[tokens.lengths[rows] <= LONGEST]
    rows = rows[: int(np.searchsorted(np.cumsum(tokens.lengths[rows]), SAMPLE))]
    parts = by_length(tokens.lengths[rows], len(rows), 4096, np.random.default_rng(0))
    sample = [tokens.batch(rows[part]) for part in parts]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = [nn.functional.normalize(teacher(*batch).float(), dim=1) for batch in sample]
    matrix = projection(torch.cat(found).numpy())
    save(shrink(teacher, shape, SPANS, matrix, sample).state_dict(), file)
