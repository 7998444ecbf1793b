"""Tensors of a model folder, read one at a time from safetensors files.

Takes a folder with `model.safetensors`, or with `model.safetensors.index.json` and its shards.
Gives float32 arrays by key, read from disk at each call: nothing is cached, so that a model larger
than memory can be exported. It knows nothing of adapters or of what a tensor means. Pickle files
(`pytorch_model.bin`) are never opened.
"""

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from embedge.errors import SourceError
from embedge.pack.checks import safe_name
from embedge_export.reading.files import read_json_file, refuse_pointer

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
# The dtypes of weights, as safetensors spells them, and how NumPy holds them.
DTYPES: Mapping[str, np.dtype[Any]] = {
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
}
# Those of tables that were made smaller (model2vec), which few families read.
TABLE_DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "I8": np.dtype(np.int8),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
}
# Index buffers (`position_ids`) stand in old checkpoints; no network's weights, never read.
_BUFFER_DTYPES = ("I64",)
# Output heads: an embedding model has no use for them, and they carry no "model." prefix.
_HEADS = ("lm_head.", "score.", "classifier.")
_CHUNK = 2**21  # elements per read: 4 MB of bfloat16, which the processor's cache still holds


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Where a tensor stands."""

    path: Path
    name: str  # as the file spells it
    dtype: str  # as safetensors spells it
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file


class SafetensorsWeights:
    """Weights in one or several safetensors files. Implements `Weights`.

    Args:
        tensors: where each stands.
        dtypes: those that are read, as safetensors spells them.
    """

    def __init__(
        self, tensors: Mapping[str, _Tensor], dtypes: Mapping[str, np.dtype[Any]] = DTYPES
    ) -> None:
        self._tensors = dict(tensors)
        self._dtypes = dtypes
        self._finite: set[str] = set()  # those that were read whole once

    def keys(self) -> Collection[str]:
        """Names of the tensors, without the prefix "model." where all of them had it."""
        return self._tensors.keys()

    def __contains__(self, key: object) -> bool:
        return key in self._tensors

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, known without reading it."""
        return self._tensor(key).shape

    def dtype(self, key: str) -> str:
        """What the file holds: "bfloat16", "float16", "float32" (or "I64" for a buffer)."""
        dtype = self._tensor(key).dtype
        return str(self._dtypes[dtype]) if dtype in self._dtypes else dtype

    def file(self, key: str) -> Path:
        """The file that holds a tensor."""
        return self._tensor(key).path

    def read(self, key: str) -> NDArray[np.float32]:
        """The tensor as C-contiguous float32, read from disk at each call.

        Raises:
            SourceError: it cannot be read, or a value is NaN or infinite: looked at when it is
                read for the first time, so every row of a table is, whichever texts take.
        """
        tensor = self._weight(key)
        result = np.empty(math.prod(tensor.shape), np.float32)
        self._read_chunks(
            key, (result[start : start + _CHUNK] for start in range(0, result.size, _CHUNK))
        )
        return result.reshape(tensor.shape)

    def rows(self, key: str, places: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """See Weights. At the first time all rows are looked at, as by `read`."""
        tensor = self._weight(key)
        width, held = math.prod(tensor.shape[1:]), self._dtypes[tensor.dtype]
        if key not in self._finite:
            left = math.prod(tensor.shape)
            chunk = np.empty(min(left, _CHUNK), np.float32)
            self._read_chunks(key, (chunk[: left - start] for start in range(0, left, _CHUNK)))
        wanted, back = np.unique(places, return_inverse=True)
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < tensor.shape[0]:
            raise IndexError(f"{key!r} has {tensor.shape[0]} rows")
        rows = np.empty((len(wanted), width), np.float32)
        with _reading(tensor.path), tensor.path.open("rb", buffering=0) as file:
            for row, place in zip(rows, wanted, strict=True):
                file.seek(tensor.offset + int(place) * width * held.itemsize)
                _fill(file, tensor, row, held)
        shape = (*np.shape(places), *tensor.shape[1:])
        return np.asarray(rows[back.reshape(-1)].reshape(shape))

    def _read_chunks(self, key: str, chunks: Iterable[NDArray[np.float32]]) -> None:
        """Reads a tensor from front to back into one chunk after the other, float32 (numbers,)."""
        tensor, known, start = self._weight(key), key in self._finite, 0
        # Plain reads, not a memory map: a file cut short while it is mapped kills the process.
        with _reading(tensor.path), tensor.path.open("rb", buffering=0) as file:
            file.seek(tensor.offset)
            for chunk in chunks:
                _fill(file, tensor, chunk, self._dtypes[tensor.dtype])
                if not known and not np.isfinite(chunk).all():
                    place = start + int(np.argmin(np.isfinite(chunk)))
                    raise SourceError(
                        f"{tensor.path}: tensor {tensor.name!r} holds NaN or infinity, first at "
                        f"{list(map(int, np.unravel_index(place, tensor.shape)))}; the training "
                        "run or the download failed. Get the model again"
                    )
                start += chunk.size
        self._finite.add(key)

    def _weight(self, key: str) -> _Tensor:
        tensor = self._tensor(key)
        if tensor.dtype not in self._dtypes:
            raise SourceError(
                f"{tensor.path}: tensor {tensor.name!r} has dtype {tensor.dtype}, which is no "
                "weight; only bfloat16, float16 and float32 can be read"
            )
        return tensor

    def _tensor(self, key: str) -> _Tensor:
        try:
            return self._tensors[key]
        except KeyError:
            folder = next((str(t.path.parent) for t in self._tensors.values()), "the source")
            raise SourceError(
                f"{folder} has no tensor {key!r}; the weights do not fit its config.json"
            ) from None


def open_weights(folder: Path, dtypes: Mapping[str, np.dtype[Any]] = DTYPES) -> SafetensorsWeights:
    """Opens the weights of a model folder; only headers are read.

    Args:
        folder: with `model.safetensors`, or an index and its shards.
        dtypes: those that are read, as safetensors spells them.

    Raises:
        SourceError: there are none, or a file is damaged, inconsistent or unsafe.
    """
    if (folder / SINGLE).exists():
        tensors = _read_header(folder / SINGLE, dtypes)
    elif (folder / INDEX).exists():
        tensors = _read_shards(folder / INDEX, dtypes)
    else:
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        found = f" ({', '.join(pickles[:3])} is pickle, which can run code: not read)"
        raise SourceError(
            f"{folder} has neither {SINGLE} nor {INDEX}{found if pickles else ''}. Convert with "
            "transformers: AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
        )
    return SafetensorsWeights(_without_prefix(tensors), dtypes)


def open_file(path: Path) -> SafetensorsWeights:
    """Opens one safetensors file, its keys as they are."""
    return SafetensorsWeights(_read_header(path))


def weight_files(folder: Path) -> tuple[str, ...]:
    """Names of the files in `folder` that `open_weights` reads: the index first, then shards."""
    if (folder / SINGLE).exists():
        return (SINGLE,)
    return (INDEX, *sorted(set(_read_index(folder / INDEX).values())))


def _fill(file: Any, tensor: _Tensor, result: NDArray[np.float32], held: np.dtype[Any]) -> None:
    """Reads the next `result.size` elements of an open file, held as `held`, into `result`."""
    raw = np.empty(result.size, held) if held != np.float32 else result
    left = raw.view(np.uint8).data
    while left:
        count = file.readinto(left)
        if not count:
            raise SourceError(
                f"{tensor.path}: ends inside tensor {tensor.name!r}; it was cut short after it "
                "was opened. Download or copy it again"
            )
        left = left[count:]
    if tensor.dtype == "BF16":
        # bfloat16 is the upper half of float32: a shift, five times as fast as a cast.
        np.left_shift(
            raw.view(np.uint16), 16, out=result.view(np.uint32), dtype=np.uint32, casting="unsafe"
        )
    elif raw is not result:
        with np.errstate(over="ignore"):  # of float64: infinity is looked for
            result[:] = raw


def _without_prefix(tensors: Mapping[str, _Tensor]) -> dict[str, _Tensor]:
    """Drops "model." from the keys if every key but an output head's has it."""
    body = [key for key in tensors if not key.startswith(_HEADS)]
    if not body or not all(key.startswith("model.") for key in body):
        return dict(tensors)
    return {key.removeprefix("model."): tensor for key, tensor in tensors.items()}


def _read_shards(index: Path, dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, _Tensor]:
    weight_map = _read_index(index)
    tensors: dict[str, _Tensor] = {}
    for shard in sorted(set(weight_map.values())):
        path = index.parent / shard
        if not path.exists():
            raise SourceError(f"{index} names the shard {shard!r}, which is missing: download it")
        for key, tensor in _read_header(path, dtypes).items():
            if key in tensors:
                raise SourceError(
                    f"{path}: tensor {key!r} stands in {tensors[key].path.name} too; "
                    "save the model again"
                )
            if weight_map.get(key) != shard:
                raise SourceError(
                    f"{path}: tensor {key!r} is here, but {index.name} says "
                    f"{weight_map.get(key)!r}; save the model again"
                )
            tensors[key] = tensor
    for key in weight_map.keys() - tensors.keys():
        raise SourceError(
            f"{index.parent / weight_map[key]}: tensor {key!r} is missing, though {index.name} "
            "places it here; download the shard again"
        )
    return tensors


def _read_index(index: Path) -> dict[str, str]:
    """The checked "weight_map": tensor -> shard, a plain file name beside the index."""
    try:
        root = read_json_file(index)
        weight_map = root["weight_map"]
    except FileNotFoundError:
        raise SourceError(f"{index.parent} has neither {SINGLE} nor {INDEX}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(f"{index} is no index of shards ({error!r}); download it again") from None
    if not isinstance(weight_map, dict) or not weight_map:
        raise SourceError(f'{index}: "weight_map" is not an object with entries')
    for key, shard in weight_map.items():
        if not isinstance(shard, str) or not safe_name(shard):
            raise SourceError(
                f"{index}: tensor {key!r} is placed in {shard!r}, which is not a plain file name "
                "beside the index; do not trust this model"
            )
    return weight_map


def _read_header(path: Path, dtypes: Mapping[str, np.dtype[Any]] = DTYPES) -> dict[str, _Tensor]:
    """The tensors of one file. The library checks the header's size, offsets and file length."""
    with _reading(path):
        refuse_pointer(path)  # and what is not a regular file: the library would wait for a pipe
        with safe_open(path, framework="np"):
            pass
        with path.open("rb") as file:
            header, start = _parse_header(file)
    tensors: dict[str, _Tensor] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in (*dtypes, *_BUFFER_DTYPES):
            raise SourceError(
                f"{path}: tensor {name!r} has dtype {entry['dtype']}; bfloat16, float16 and "
                "float32 are read. Take the model's unquantized weights"
            )
        offset = start + entry["data_offsets"][0]
        tensors[name] = _Tensor(path, name, entry["dtype"], tuple(entry["shape"]), offset)
    return tensors


def _parse_header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The JSON header, and where the tensors' bytes start. For files that the library accepts.

    Not left to the library: its NumPy side gives no offsets, and no bfloat16 in older releases.
    """
    size = int.from_bytes(file.read(8), "little")
    return json.loads(file.read(size)), 8 + size


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        raise SourceError(
            f"{path} cannot be read as safetensors: {error}. Download or copy it again"
        ) from error
