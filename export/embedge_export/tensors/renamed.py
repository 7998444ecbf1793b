"""A checkpoint's tensors under other names, read one at a time, when they are asked for."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.errors import SourceError
from embedge_export.tensors.lora import Delta
from embedge_export.tensors.weights import Weights


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor stands: its name in the files, and which of how many equal runs of rows."""

    name: str
    part: int = 0
    parts: int = 1

    def cut(self, array: NDArray[np.float32], axis: int = 0) -> NDArray[np.float32]:
        """The own rows of what stands there."""
        if self.parts == 1:
            return array
        return np.ascontiguousarray(np.split(array, self.parts, axis)[self.part])


class NamedDelta(Delta):
    """What an adapter adds, under other names; what has none here changes no vector.

    Args:
        delta: under the names of the files.
        places: key -> where the weight stands in the files.
    """

    def __init__(self, delta: Delta, places: Mapping[str, Place]) -> None:
        self._delta = delta
        self._places = {k: place for k, place in places.items() if place.name in delta.adapted}
        self.adapted = frozenset(self._places)

    def delta(self, key: str) -> NDArray[np.float32]:
        """See Delta."""
        place = self._places[key]
        return place.cut(self._delta.delta(place.name))

    def rows(self, key: str, places: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """See Delta."""
        place = self._places[key]
        if place.parts == 1:
            return self._delta.rows(place.name, places)
        return np.asarray(self.delta(key)[places])


class NamedWeights(Weights):
    """A checkpoint's tensors under other names, with joined ones apart. Implements `Weights`."""

    def __init__(self, stored: Weights, places: Mapping[str, Place]) -> None:
        self._stored = stored
        self._places = dict(places)

    def keys(self) -> Collection[str]:
        """See Weights."""
        return self._places.keys()

    def __contains__(self, key: object) -> bool:
        """See Weights."""
        return key in self._places

    def shape(self, key: str) -> tuple[int, ...]:
        """See Weights."""
        place = self._place(key)
        shape = self._stored.shape(place.name)
        if place.parts == 1:
            return shape
        if not shape or shape[0] % place.parts:
            raise SourceError(
                f"tensor {place.name!r} has shape {shape}; it holds {place.parts} weights one "
                f"below the other, so the number of its rows must be a multiple of {place.parts}"
            )
        return (shape[0] // place.parts, *shape[1:])

    def read(self, key: str) -> NDArray[np.float32]:
        """See Weights."""
        place = self._place(key)
        return place.cut(self._stored.read(place.name))

    def rows(self, key: str, places: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """See Weights."""
        place = self._place(key)
        return self._stored.rows(place.name, places) if place.parts == 1 else self.read(key)[places]

    def named(self, delta: Delta) -> NamedDelta:
        """What an adapter of the files adds, under the same names."""
        return NamedDelta(delta, self._places)

    def _place(self, key: str) -> Place:
        try:
            return self._places[key]
        except KeyError:
            raise SourceError(
                f"the weights lack the tensor {key!r}; is the checkpoint complete?"
            ) from None
