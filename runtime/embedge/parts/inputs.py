"""Which files a run reads: paths, folders, patterns and URIs to a list in a fixed order.

Takes what a person wrote, gives an `Input` for each file. File systems are pyarrow's: a name with
`://`, such as `s3://bucket/texts/*.parquet`, goes to the one that its scheme names. Opens no file.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pyarrow import fs

from embedge.bulk.suffixes import JSON_LINES
from embedge.errors import InputError
from embedge.images.names import is_image_name
from embedge.printable import printable
from embedge.reasons import one_line

Kind = Literal["parquet", "arrow", "jsonl", "json", "csv", "tsv", "image"]
KINDS: dict[str, Kind] = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    **dict.fromkeys(JSON_LINES, "jsonl"),
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
}
_COMPRESSED = (".gz", ".bz2", ".lz4", ".zst")  # of rows of text; Parquet and Arrow do it within
# What pyarrow's S3 says, and what most often is the cause.
_REMEDIES = {
    "ACCESS_DENIED": "check the credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID) and their rights",
    "NETWORK_CONNECTION": "check the network, AWS_ENDPOINT_URL and the region",
}
_WILDCARD = re.compile(r"[*?\[]")
_HIDDEN = (".", "_")  # what other programs put beside data: _SUCCESS, .part
# What `datasets` puts beside data; other files of these names are read where they are named.
_BESIDE = {"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"}
_IMAGES = "; for the images there, add --images"
_FILES = ".parquet, .arrow, .jsonl, .json, .csv or .tsv file"


@dataclass(frozen=True, slots=True)
class Input:
    """One file."""

    name: str  # as messages and the manifest call it
    kind: Kind
    size: int  # bytes
    path: str  # in its file system
    filesystem: Any = field(repr=False, compare=False)  # pyarrow.fs.FileSystem


def find_inputs(names: Sequence[str], *, out: Path) -> list[Input]:
    """The files that names stand for: in the order of the names, within a folder by path.

    Args:
        names: of files, folders (with all that is below them), patterns with `*`, `?`, `[…]` and
            `**`, or URIs of these. What starts with `.` or `_` is left out unless it is named.
        out: the folder that is written, which may not stand in a folder that is read.

    Raises:
        InputError: a name stands for nothing, or for a file of another kind; or a file is named
            twice.
    """
    found = [item for name in names for item in files_of(name, _kind, _FILES, out=out)]
    check_once(found)
    return found


def check_once(files: Sequence[Input]) -> None:
    """Refuses a file that is named twice.

    Raises:
        InputError: one is.
    """
    seen: set[str] = set()
    for item in files:
        if item.name in seen:
            raise InputError(f"{item.name} is named twice; name each input once")
        seen.add(item.name)


def files_of(
    name: str, kind_of: Callable[[str, bool], Kind | None], wanted: str, *, out: Path
) -> list[Input]:
    """The files that one name stands for; see `find_inputs`.

    Args:
        name: what a person wrote.
        kind_of: what a file holds, by its path and whether it was named itself; None for one that
            is left out.
        wanted: what messages say that there is none of.
        out: see `find_inputs`.

    Raises:
        InputError: see `find_inputs`.
    """
    try:
        return _files(name, kind_of, wanted, out)
    except UnicodeError as error:  # pyarrow takes and gives no other names
        file = getattr(error, "object", name)
        shown = printable(file if isinstance(file, str) else os.fsdecode(file))
        raise InputError(
            f"{printable(name)} cannot be read: the name of {shown} is not UTF-8; rename it"
        ) from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{name} cannot be read: {one_line(error)}") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {why_unreadable(error)}") from None


def why_unreadable(error: OSError) -> str:
    """What a file system says, and what to look at where it is one behind a network."""
    reason = error.strerror or one_line(error)
    for code, remedy in _REMEDIES.items():
        if code in reason:
            return f"{reason.rstrip('. ')}; {remedy}"
    return reason


def _files(
    name: str, kind_of: Callable[[str, bool], Kind | None], wanted: str, out: Path
) -> list[Input]:
    scheme, sign, _ = name.partition("://")
    system, path = fs.FileSystem.from_uri(name) if sign else (fs.LocalFileSystem(), _slashed(name))
    prefix = f"{scheme}{sign}" if sign else ""
    if prefix == "file://" and not path.startswith("/"):  # file:///C:/data
        prefix += "/"
    info = system.get_file_info(path)
    if info.type == fs.FileType.File:
        kind = kind_of(path, True)
        if kind is None:
            remedy = _IMAGES if is_image_name(Path(path)) else ""
            raise InputError(f"{name} cannot be read: by its name it is not a {wanted}{remedy}")
        return [Input(name, kind, info.size, path, system)]
    if info.type == fs.FileType.Directory:
        base, pattern = path, ["**", "*"]
        if isinstance(system, fs.LocalFileSystem) and _is_within(out, Path(path)):
            raise InputError(
                f"{out} lies in {name}, which is read; write to a folder outside of it"
            )
    elif _WILDCARD.search(path):
        names = path.split("/")
        first = next(index for index, part in enumerate(names) if _WILDCARD.search(part))
        base, pattern = "/".join(names[:first]) or ("/" if first else "."), names[first:]
    else:
        raise InputError(f"{name} does not exist")
    held = sorted(_below(system, base, pattern), key=lambda info: info.path)
    inputs = [
        Input(prefix + _plain(info.path), kind, info.size, info.path, system)
        for info in held
        if (kind := kind_of(info.path, False)) is not None
    ]
    if not inputs:
        remedy = _IMAGES if any(is_image_name(Path(info.path)) for info in held) else ""
        raise InputError(f"{name} holds no {wanted} to read{remedy}")
    return inputs


def _below(system: Any, base: str, pattern: Sequence[str]) -> Iterator[Any]:
    """The files below a folder that fit the rest of a pattern."""
    selector = fs.FileSelector(base, recursive=True, allow_not_found=True)
    depth = len(_names(base))
    for info in system.get_file_info(selector):
        if info.type == fs.FileType.File and _fits(pattern, _names(info.path)[depth:]):
            yield info


def _slashed(path: str) -> str:
    """A path of this machine with the separator of pyarrow's file systems."""
    return path.replace("\\", "/") if os.name == "nt" else path


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _plain(path: str) -> str:
    return path.removeprefix("./")


def _fits(pattern: Sequence[str], names: Sequence[str]) -> bool:
    """Whether the names of a path fit a pattern, folder by folder."""
    if not pattern or not names:
        return not names and list(pattern) in ([], ["**"])
    shown = not names[0].startswith(_HIDDEN)
    if pattern[0] == "**":
        return _fits(pattern[1:], names) or (shown and _fits(pattern, names[1:]))
    if not shown and not pattern[0].startswith(_HIDDEN):
        return False
    return fnmatchcase(names[0], pattern[0]) and _fits(pattern[1:], names[1:])


def _kind(path: str, named: bool) -> Kind | None:
    """What a file holds by its name; None if it is nothing that is read here."""
    if not named and Path(path).name in _BESIDE:
        return None
    plain = Path(path)
    packed = plain.suffix.lower() in _COMPRESSED
    kind = KINDS.get((plain.with_suffix("") if packed else plain).suffix.lower())
    return None if packed and kind in ("parquet", "arrow") else kind


def _is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
