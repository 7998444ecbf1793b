"""A column of images: paths, the bytes of files, or the records of both that `datasets` writes.

Gives paths of this machine as they are, for the runtime opens them a few at a time. What stands in
another file system is read here, and given as bytes. Opens no image.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs

from embedge.errors import InputError, OptionError
from embedge.images.sources import MAX_BYTES, source_name
from embedge.parts.chunks import Item, Items
from embedge.parts.columns import is_bytes, is_string, texts_of
from embedge.parts.inputs import Input, why_unreadable
from embedge.reasons import one_line

ROWS = 8  # read at once: a photograph has some megabytes
_READERS = 8  # threads, where each image is a request over a network
_FIELDS = {"bytes", "path"}
_URI = "://"
_URLS = ("http://", "https://")

Given = TypeVar("Given")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Folder:
    """Where images stand whose paths are relative."""

    name: str  # as messages call it, without a slash at its end; a URI where it has a scheme
    path: str  # in its file system
    filesystem: Any = field(repr=False, compare=False)  # pyarrow.fs.FileSystem; None: this machine

    def item(self, path: str) -> tuple[Item | None, str | None]:
        """The image behind a path or a URI.

        Raises:
            InputError: another file system failed in such a way that the next image would, too.
        """
        if not path:
            return None, "is empty"
        if path[:5].lower() == "data:":
            return path, None
        if path[:8].lower().startswith(_URLS):
            return (
                None,
                f"{source_name(path)} is a URL; download it, and give its path",
            )
        if _URI in path:
            if self.filesystem is None or not path.startswith(f"{self.name}/"):
                return None, (
                    f"{source_name(path)} is a URI that is not below {self.name}; name the URI of "
                    "its folder with --root"
                )
            path = path[len(self.name) + 1 :]
        elif self.filesystem is None:
            return os.path.join(self.path, path), None  # noqa: PTH118 an absolute one stays
        return read_image_file(self.filesystem, f"{self.path}/{path}", f"{self.name}/{path}")


@dataclass(frozen=True, slots=True)
class ImageColumn:
    """A column of images.

    Attributes:
        name: of the column.
        root: the folder that relative paths start from; None for that of the input.
    """

    name: str
    root: Folder | None = None
    holds: str = "images"
    option: str = "--image-column"
    rows: int = ROWS

    def fits(self, kind: pa.DataType) -> bool:
        """Strings, bytes, records with one of them, and nothing but null."""
        if pa.types.is_struct(kind):
            return any(kind.field(index).name in _FIELDS for index in range(kind.num_fields))
        return is_string(kind) or is_bytes(kind) or pa.types.is_null(kind)

    def is_bulky(self, kind: pa.DataType) -> bool:
        """The bytes of images are not written once more."""
        return is_bytes(kind) or pa.types.is_struct(kind)

    def from_arrow(self, values: Any, source: Input) -> Items:
        """The path or the bytes of each value."""
        if pa.types.is_struct(values.type):
            return self._from_records(values, source)
        if is_bytes(values.type):
            return _bytes_of(values)
        return self._located(*texts_of(values), source)

    def from_json(self, values: list[Any], source: Input) -> Items:
        """The path of each value, which is a string, or an object with "path"."""
        paths: list[str | None] = []
        reasons: list[str | None] = []
        for value in values:
            path = value.get("path") if isinstance(value, Mapping) else value
            reason = None if isinstance(path, str) else "is null"
            if path is not None and not isinstance(path, str):
                reason = f'"{self.name}" is not the path of an image'
            paths.append(None if reason else path)
            reasons.append(reason)
        return self._located(paths, reasons, source)

    def _from_records(self, values: Any, source: Input) -> Items:
        """The bytes of each record, or what its path names where it has none."""
        names = [values.type.field(index).name for index in range(values.type.num_fields)]
        columns = dict(zip(names, values.flatten(), strict=True))  # null where the record is
        absent = pa.nulls(len(values), pa.binary())
        held, empty = _bytes_of(columns.get("bytes", absent))
        paths, reasons = texts_of(columns.get("path", absent))
        # A path beside bytes is a name alone, which nothing has to stand behind.
        wanted = [None if data else path for data, path in zip(held, paths, strict=True)]
        items, lacks = self._located(wanted, reasons, source)
        return (
            [data or item for data, item in zip(held, items, strict=True)],
            [
                None if data else (before if lack == "is null" else lack)
                for data, before, lack in zip(held, empty, lacks, strict=True)
            ],
        )

    def _located(
        self, paths: Sequence[str | None], reasons: Sequence[str | None], source: Input
    ) -> Items:
        folder = self.root or _own_folder(source)

        def locate(path: str | None) -> tuple[Item | None, str | None]:
            return (None, None) if path is None else folder.item(path)

        apart = in_threads if folder.filesystem is not None else map
        found = list(apart(locate, paths))
        return (
            [item for item, _ in found],
            [before or reason for before, (_, reason) in zip(reasons, found, strict=True)],
        )


def find_root(name: str) -> Folder:
    """The folder that `--root` names: a path or a URI.

    Raises:
        OptionError: it is not a folder.
    """
    if _URI not in name or name.startswith("file://"):
        path = Path(name)
        if _URI in name:
            path = Path(fs.FileSystem.from_uri(name)[1])
        if not path.is_dir():
            raise OptionError(f"--root {name} is not a folder; name the one that paths start from")
        return Folder(name, str(path), None)
    try:
        system, place = fs.FileSystem.from_uri(name)
        exists = system.get_file_info(place).type == fs.FileType.Directory
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise OptionError(f"--root {name} cannot be read: {one_line(error)}") from None
    except OSError as error:
        raise OptionError(f"--root {name} cannot be read: {why_unreadable(error)}") from None
    if not exists:
        raise OptionError(f"--root {name} is not a folder; name the one that paths start from")
    return Folder(name.split("?")[0].rstrip("/"), place.rstrip("/"), system)


def read_image_file(filesystem: Any, path: str, name: str) -> tuple[bytes | None, str | None]:
    """The bytes of a file, or the reason why this file is left out.

    Raises:
        InputError: the file system failed, and would for the next file.
    """
    try:
        with filesystem.open_input_file(path) as stream:
            if stream.size() > MAX_BYTES:
                return None, f"{source_name(name)} holds more than {MAX_BYTES // 2**20} MiB"
            data: bytes = stream.read()
    except FileNotFoundError:
        return None, f"{source_name(name)} does not exist"
    except IsADirectoryError:
        return None, f"{source_name(name)} cannot be opened: it is a folder; list its files"
    except pa.ArrowInvalid as error:  # of the path
        return None, f"{source_name(name)} cannot be opened: {one_line(error)}"
    except OSError as error:
        raise InputError(f"{name} cannot be read: {why_unreadable(error)}") from None
    return data or None, None if data else f"{source_name(name)} is empty"


def in_threads(read: Callable[[Given], Found], given: Sequence[Given]) -> list[Found]:
    """What `read` gives for each, several at a time: each of them takes a request."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="embedge-read") as pool:
        return list(pool.map(read, given))


def _bytes_of(values: Any) -> Items:
    items: list[Item | None] = [value or None for value in values.to_pylist()]
    empty = ["is null" if not valid else "is empty" for valid in values.is_valid().to_pylist()]
    return items, [None if item else reason for item, reason in zip(items, empty, strict=True)]


def _own_folder(source: Input) -> Folder:
    """The folder that a file stands in."""
    path, name = (place.rpartition("/")[0] for place in (source.path, source.name.split("?")[0]))
    local = isinstance(source.filesystem, fs.LocalFileSystem)
    return Folder(name or ".", path, None if local else source.filesystem)
