"""Image files as a source of rows: a row for each file, with its path.

Takes the names of files, folders, patterns and URIs; gives an `ImageFiles` for each of them. What
it holds is known by the paths and the sizes of its files. Opens none of them on this machine.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from embedge.images.names import is_image_name
from embedge.parts.chunks import Chunk, wanted_pieces
from embedge.parts.columns import Column
from embedge.parts.image_column import in_threads, read_image_file
from embedge.parts.inputs import Input, Kind, check_once, files_of

PATH = "path"  # the column with the path of each
_FILES = "image"  # what messages say is missing


class ImageFiles:
    """The images that one name stands for; see `Source`.

    Args:
        name: as messages and the manifest call them.
        files: in their order, of one file system.
    """

    def __init__(self, name: str, files: Sequence[Input]) -> None:
        size = sum(file.size for file in files)
        self._system = files[0].filesystem
        self.input = Input(name, "image", size, files[0].path, self._system)
        self.rows = len(files)
        self.columns = {PATH: pa.string()}
        self._files = [(file.name, file.path) for file in files]
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file.name}\0{file.size}\0".encode())
        self.digest = digest.hexdigest()

    def chunks(self, wanted: Sequence[range], column: Column, schema: pa.Schema) -> Iterator[Chunk]:
        """The rows in ranges that ascend; see `Source`."""
        for start in range(0, self.rows, column.rows):
            files = self._files[start : start + column.rows]
            for piece in wanted_pieces(start, len(files), wanted):
                names = [name for name, _ in files[piece]]
                items: Sequence[str | bytes | None] = names
                reasons: Sequence[str | None] = [None] * len(names)
                if not isinstance(self._system, fs.LocalFileSystem):
                    found = in_threads(self._read, files[piece])
                    items, reasons = [item for item, _ in found], [reason for _, reason in found]
                else:
                    items = [path for _, path in files[piece]]
                table = pa.table({PATH: pa.array(names, pa.string())}).select(schema.names)
                yield Chunk(table, items, reasons)

    def _read(self, file: tuple[str, str]) -> tuple[bytes | None, str | None]:
        name, path = file
        return read_image_file(self._system, path, name)


def find_images(names: Sequence[str], *, out: Path) -> list[ImageFiles]:
    """The images that names stand for, in the order of the names, within a folder by path.

    Args:
        names: as for `find_inputs`; a file that is named is taken for an image, whatever its name.
        out: see `find_inputs`.

    Raises:
        InputError: a name stands for nothing, or a file is named twice.
    """
    found = {name: files_of(name, _kind, _FILES, out=out) for name in dict.fromkeys(names)}
    check_once([file for files in found.values() for file in files])
    return [ImageFiles(name, files) for name, files in found.items()]


def _kind(path: str, named: bool) -> Kind | None:
    return "image" if named or is_image_name(Path(path)) else None
