"""Which layers a text's vector hangs on: the same noise in one layer after another.

Some texts balance: two places draw a head's attention alike, and whatever is rounded before that
head tips it. More digits help such a text only where it balances, which no linear's own loss says.
So a family's truth runs many copies of the text in one pass, each with noise of int8's size
in one layer alone, and how far a copy's vector moves is that layer's share. Noise of bfloat16's
size in all layers shows which texts balance. Takes a way to run the truth; knows neither networks
nor precisions.
"""

import math
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
_SIGN = np.uint32(2**31)  # the bit of a float32
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
    signs = _Signs()

    def disturb(key: str, values: Array) -> Array:
        place = places.get(layer_of(key))
        if place is not None:
            part = values[place : place + rows]
            _disturb(part, _NOISE, signs.draw(part.shape))
        return values

    vectors = _unit(run([ids] * (draws * len(layers) + 1), disturb))
    moved = 1 - vectors[:-1] @ vectors[-1]
    means = moved.reshape(len(layers), draws).mean(axis=1)
    return dict(zip(layers, map(float, means), strict=True))


def moved_by_bfloat16(
    run: Run,
    texts: Sequence[Ids],
    *,
    clean: Array | None = None,
    among: Sequence[int] | None = None,
) -> list[float]:
    """How far noise of bfloat16's size in all layers moves each text: 1 - cosine, of some draws.

    Rounding to bfloat16 itself would be one draw, which can leave a text where it was by luck, and
    none where the weights are stored in it.

    Args:
        run: the truth of one task.
        texts: tokens of each, (tokens,).
        clean: their vectors without noise; computed with the others by default.
        among: the places of those texts to run; the noise of each is as if all were. All by
            default.
    """
    places = range(len(texts)) if among is None else among
    ends = np.cumsum([0, *map(len, texts)])
    own = np.concatenate([np.arange(ends[place], ends[place + 1]) for place in places])
    taken = np.concatenate([own + draw * ends[-1] for draw in range(_BFLOAT16_DRAWS)])
    signs = _Signs()

    def disturb(key: str, values: Array) -> Array:
        noise = signs.draw((int(_BFLOAT16_DRAWS * ends[-1]), values.shape[1]))
        noise = noise if among is None else noise[taken]
        _disturb(values[: len(taken)], _BFLOAT16_NOISE, noise)
        return values

    chosen = [texts[place] for place in places]
    copies = _BFLOAT16_DRAWS + (clean is None)
    vectors = _unit(run(chosen * copies, disturb)).reshape(copies, len(chosen), -1)
    still = vectors[-1] if clean is None else _unit(clean[list(places)])
    cosines = (vectors[:_BFLOAT16_DRAWS] * still).sum(axis=2)  # (draws, texts)
    return [float(moved) for moved in 1 - cosines.mean(axis=0)]


class _Signs:
    """Random signs, the same on every machine, as the sign bits of float32.

    They are what `default_rng(0).choice([-1, 1], shape)` gives, drawn as the 64 bits that the
    generator makes at once instead of a number for each: a network takes 10^8 of them.
    """

    def __init__(self) -> None:
        self._bits = np.random.default_rng(0).bit_generator
        self._left = np.empty(0, np.uint32)  # half of the last 64 bits, where a count was odd

    def draw(self, shape: tuple[int, int]) -> NDArray[np.uint32]:
        """The next signs: 0 for 1, 2^31 for -1."""
        count = math.prod(shape)
        words = (count - len(self._left) + 1) // 2
        new = self._bits.random_raw(words).astype("<u8", copy=False).view("<u4")
        found = np.concatenate([self._left, new]) if len(self._left) else new
        self._left = found[count:].copy()
        signs = np.invert(found[:count], out=found[:count])
        np.bitwise_and(signs, _SIGN, out=signs)
        return np.asarray(signs.reshape(shape))


def _disturb(rows: Array, noise: np.float32, signs: NDArray[np.uint32]) -> None:
    """Adds noise of these signs, a share of each row's root mean square, in place."""
    size = noise * np.sqrt(np.mean(np.square(rows), axis=1, keepdims=True))
    rows += (size.view(np.uint32) | signs).view(np.float32)


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
