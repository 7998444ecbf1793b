"""Which layers a text's vector hangs on: the same noise in one layer after another.

Some texts balance: two places draw a head's attention alike, and whatever is rounded before that
head tips it. More digits help such a text only where it balances, which no linear's own loss tells.
So the truth (reference.py) runs many copies of the text in one pass, each with noise of int8's size
in one layer alone, and how far a copy's vector moves is that layer's share. Takes a way to run the
truth; knows neither networks nor precisions.
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
_DRAWS = 8  # of the noise: one draw alone can leave a text where it was by luck
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
            copies = values[place : place + rows]
            size = np.sqrt(np.mean(np.square(copies), axis=1, keepdims=True))
            copies += _NOISE * size * signs.choice(np.array([-1, 1], np.float32), copies.shape)
        return values

    vectors = run([ids] * (draws * len(layers) + 1), disturb).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    moved = 1 - vectors[:-1] @ vectors[-1]
    means = moved.reshape(len(layers), draws).mean(axis=1)
    return dict(zip(layers, map(float, means), strict=True))


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
