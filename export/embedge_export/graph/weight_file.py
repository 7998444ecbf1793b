"""A graph's data file: weights one after another, each on a page of its own.

Takes arrays, gives the references that a graph holds in their place. Knows nothing of graphs.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

# Page size of every system that maps files, so that each weight can be mapped by itself.
_ALIGNMENT = 4096  # bytes


class WeightFile:
    """An external data file, written front to back. Use as a context manager.

    Names that were added can be looked up again, which is how tasks share what they share.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("wb")
        self._tensors: dict[str, ir.ExternalTensor] = {}

    def __enter__(self) -> "WeightFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def flush(self) -> None:
        """Makes what was added visible to readers of the file."""
        self._file.flush()

    def get(self, name: str) -> ir.ExternalTensor | None:
        """The tensor added under this name, if any."""
        return self._tensors.get(name)

    def add(self, name: str, array: NDArray[Any]) -> ir.ExternalTensor:
        """Appends an array and gives the reference that a graph holds."""
        self._file.write(b"\0" * (-self._file.tell() % _ALIGNMENT))
        offset = self._file.tell()
        array = np.ascontiguousarray(array)
        self._file.write(array.data)
        tensor = ir.ExternalTensor(
            self.path.name,
            offset,
            array.nbytes,
            ir.DataType.from_numpy(array.dtype),
            shape=ir.Shape(array.shape),
            name=name,
            base_dir=str(self.path.parent),
        )
        self._tensors[name] = tensor
        return tensor


class KeptWeights:
    """A data file of an earlier export: what stands in it can be taken, and nothing is added.

    Its place is where graphs that refer to it are written; `keep` puts it there.
    """

    def __init__(self, path: Path, tensors: Mapping[str, ir.ExternalTensor]) -> None:
        self.path = path
        self._tensors = tensors

    def flush(self) -> None:
        """There is nothing to write."""

    def get(self, name: str) -> ir.ExternalTensor | None:
        """The tensor of this name, if any."""
        return self._tensors.get(name)


SharedWeights = WeightFile | KeptWeights


def keep(path: Path, graphs: Iterable[Path], folder: Path) -> KeptWeights:
    """Takes over a data file that graphs refer to, under its name in another folder.

    Args:
        path: the data file.
        graphs: the graph files that refer to it, beside it.
        folder: for a further name of the same file, or a copy where a disk has no such names.
    """
    place = folder / path.name
    with contextlib.suppress(OSError):
        os.link(path, place)
    if not place.exists():
        shutil.copyfile(path, place)
    tensors = {}
    for graph in graphs:
        for value in ir.load(graph).graph.initializers.values():
            held = value.const_value
            if isinstance(held, ir.ExternalTensor) and held.location == path.name:
                tensors[str(value.name)] = ir.ExternalTensor(
                    path.name,
                    held.offset,
                    held.length,
                    held.dtype,
                    shape=held.shape,
                    name=str(value.name),
                    base_dir=str(folder),
                )
    return KeptWeights(place, tensors)
