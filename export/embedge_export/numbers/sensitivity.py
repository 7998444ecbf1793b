"""Which layers a text's vector hangs on: the same noise in one layer after another.

Some texts balance: two places draw a head's attention alike, and whatever is rounded before that
head tips it. More digits help such a text only where it balances, which no linear's own loss says.
So a family's truth runs many copies of the text in one pass, each with noise of int8's size
in one layer alone, and how far a copy's vector moves is that layer's share. Noise of bfloat16's
size in all layers shows which texts balance. Takes a way to run the truth; knows neither networks
nor precisions.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
TABLE = "embedding"  # the embedding table, where others are named by their layer
# A linear's weight key or TABLE, what it gives: what is taken instead.
Disturbance = Callable[[str, Array], Array]
Ids = NDArray[np.int32]
Run = Callable[[Sequence[Ids], Disturbance], Array]  # texts -> (texts, dimension)
# Of a row's root mean square: what 8 bits of its input and of the weights leave, 0.8 % each.
_NOISE = np.float32(0.012)
# The same of what bfloat16 leaves: its 8 bits are a value's own, not a row's.
_BFLOAT16_NOISE = np.float32(0.0016)
_DRAWS = 8  # of the noise: one draw alone can leave a text where it was by luck
_BFLOAT16_DRAWS = 4
_MOST_TOKENS = 4096  # of all copies together; long texts get fewer draws, their tokens are many


def sensitivities(run: Run, ids: Ids, layers: Sequence[str]) -> dict[str, float]:
    """By layer, how far noise in it moves the text's vector: 1 - cosine, the mean of some draws.

    Args:
        run: the truth of one task.
        ids: tokens of the text, (tokens,).
        layers: names as `layer_of` gives them.
    """
    draws = max(1, min(_DRAWS, _MOST_TOKENS // (len(ids) * len(layers))))
    rows = draws * len(ids)  # of one layer's copies
    places = {layer: index * rows for index, layer in enumerate(layers)}
    signs = np.random.default_rng(0)

    def disturb(key: str, values: Array) -> Array:
        place = places.get(layer_of(key))
        if place is not None:
            _disturb(values[place : place + rows], _NOISE, signs)
        return values

    vectors = _unit(run([ids] * (draws * len(layers) + 1), disturb))
    moved = 1 - vectors[:-1] @ vectors[-1]
    means = moved.reshape(len(layers), draws).mean(axis=1)
    return dict(zip(layers, map(float, means), strict=True))


def moved_by_bfloat16(run: Run, texts: Sequence[Ids]) -> list[float]:
    """How far noise of bfloat16's size in all layers moves each text: 1 - cosine, of some draws.

    Rounding to bfloat16 itself would be one draw, which can leave a text where it was by luck, and
    none where the weights are stored in it.
    """
    rows = _BFLOAT16_DRAWS * sum(map(len, texts))
    signs = np.random.default_rng(0)

    def disturb(key: str, values: Array) -> Array:
        _disturb(values[:rows], _BFLOAT16_NOISE, signs)
        return values

    vectors = _unit(run([*texts] * (_BFLOAT16_DRAWS + 1), disturb))
    vectors = vectors.reshape(_BFLOAT16_DRAWS + 1, len(texts), -1)
    cosines = (vectors[:-1] * vectors[-1]).sum(axis=2)  # (draws, texts)
    return [float(moved) for moved in 1 - cosines.mean(axis=0)]


def _disturb(rows: Array, noise: np.float32, signs: np.random.Generator) -> None:
    """Adds noise of random signs, a share of each row's root mean square, in place."""
    size = np.sqrt(np.mean(np.square(rows), axis=1, keepdims=True))
    rows += noise * size * signs.choice(np.array([-1, 1], np.float32), rows.shape)


def _unit(vectors: Array) -> NDArray[np.float64]:
    exact = vectors.astype(np.float64)
    return np.asarray(exact / np.sqrt(np.square(exact).sum(axis=1, keepdims=True)))


def fewest(moved: Mapping[str, float], allowed: float) -> list[str]:
    """The fewest layers without which the others together move a vector by `allowed` at most."""
    rest, chosen = sum(moved.values()), []
    for layer in sorted(moved, key=lambda layer: -moved[layer]):
        if rest <= allowed:
            break
        chosen.append(layer)
        rest -= moved[layer]
    return chosen


def between(chosen: Iterable[str], layers: Sequence[str]) -> list[str]:
    """Those chosen and all layers between them, of `layers` in the network's order.

    What tips a tie is rarely the noise that a few draws show: a small change before the layer that
    decides can have a large effect there. SmolLM2-135M: the least of 258 texts rose from 0.9972 to
    0.9994 with the layers between.
    """
    kept = set(chosen)
    places = [index for index, name in enumerate(layers) if name in kept and name != TABLE]
    first, last = min(places, default=0), max(places, default=-1)
    return [name for index, name in enumerate(layers) if name in kept or first <= index <= last]


def layer_of(name: str) -> str:
    """The layer of a weight's key or of a linear's name: "layers.3.query" -> "layers.3"."""
    return name if name == TABLE else ".".join(name.split(".")[:2])


def of_layers(layers: Iterable[str], linears: Iterable[str]) -> list[str]:
    """The linears of these layers, and the table if it is among them."""
    chosen = set(layers)
    return [name for name in (TABLE, *linears) if layer_of(name) in chosen]
