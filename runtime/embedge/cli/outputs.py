"""Where `embed` writes: a place that cannot be written, or is read as well, is refused."""

import itertools
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from embedge.bulk.suffixes import ARRAY, JSON_LINES, suffix_of
from embedge.errors import OptionError
from embedge.files.whole import find_obstacle, is_replaced

_PLAIN = ("", ".txt")  # endings that promise nothing: JSON lines are as good as any text
_WRITTEN = "embed writes JSON lines (.jsonl) and NumPy arrays (.npy)"


def check_output(
    out: str | None, kind: str | None, *, inputs: Sequence[str | os.PathLike[str]] = ()
) -> tuple[Path | None, str]:
    """The file (None: stdout) and "jsonl" or "npy", from `--out` and `--format`.

    Args:
        out: the option's value; None and "-" are stdout.
        kind: the option's value; None goes by the name.
        inputs: what is read, "-" for stdin: none of it may be what is written.

    Raises:
        OptionError: .npy was asked for on stdout, no file can be written at `out`, its name says
            another format, or it is read as well.
    """
    check_not_read("--out", None if out == "-" else out, inputs)
    if out is None or out == "-":
        if kind == "npy":
            raise OptionError(
                "--format npy needs a file, for its size stands first; add --out FILE"
            )
        return None, "jsonl"
    if obstacle := find_obstacle(out):
        raise OptionError(f"--out {out} {obstacle}")
    return Path(out), _output_format(out, kind)


def check_not_read(
    option: str,
    out: str | os.PathLike[str] | None,
    inputs: Sequence[str | os.PathLike[str]],
) -> None:
    """Refuses to write to a file that is read, by whatever name or link; None is stdout.

    Raises:
        OptionError: the output is one of the inputs.
    """
    written = _identity("-" if out is None else out, sys.stdout)
    if written is None:
        return
    for source in inputs:
        if _identity(source, sys.stdin) == written:
            name = "stdin" if source == "-" else source
            where = "stdout" if out is None else f"{option} {out}"
            raise OptionError(
                f"{where} is the file that is read ({name}), which would be lost; give another name"
            )


def check_different(**places: str | os.PathLike[str] | None) -> None:
    """Refuses one place for two outputs, such as out= and ranges= for --out and --ranges.

    Raises:
        OptionError: two are the same.
    """
    named = [(name, place) for name, place in places.items() if place is not None]
    for (one, path), (other, place) in itertools.combinations(named, 2):
        if Path(path).resolve() == Path(place).resolve():
            raise OptionError(f"--{one} and --{other} are both {place}; give two names")


def metadata_place(
    named: str | None, out: Path | None, inputs: Sequence[str | os.PathLike[str]]
) -> Path | None:
    """Where the vectors are described: `--meta`, else beside the output; None for nowhere.

    Args:
        named: the option's value.
        out: the output; None for stdout.
        inputs: what is read.

    Raises:
        OptionError: it cannot be written there, is read as well, or what stands there was not
            written by `embed` and is not named by `--meta`.
    """
    from embedge.bulk.metadata import is_metadata, metadata_path

    if named is None and (out is None or not is_replaced(out)):  # a pipe has nothing beside it
        return None
    place = metadata_path(out) if named is None and out is not None else Path(named or "")
    problem = find_obstacle(place if named is None else named)
    if named is None and not problem and place.exists():
        try:
            ours = is_metadata(place)
        except OSError:
            ours = False
        problem = None if ours else "is a file that embed did not write"
    if problem and named is None:
        raise OptionError(
            f"the description of --out {out} would be {place}, which {problem}; --meta FILE names "
            "another place for it"
        )
    if problem:
        raise OptionError(f"--meta {named} {problem}")
    check_not_read("--meta", place, inputs)
    return place


def _output_format(path: str, named: str | None) -> str:
    """The format, "jsonl" or "npy", by `--format`, else by the name of the output.

    Raises:
        OptionError: the name says another format.
    """
    suffix = suffix_of(path)
    said = "npy" if suffix == ARRAY else "jsonl" if suffix in JSON_LINES else None
    if named is not None and said not in (None, named):
        raise OptionError(f"--out {path} and --format {named} are two formats; leave one out")
    if named is None and said is None and suffix not in _PLAIN:
        raise OptionError(
            f"--out {path} is a {suffix} file by its name, and {_WRITTEN}; give such a name, or "
            "--format to write one under this name"
        )
    return named or said or "jsonl"


def _identity(path: str | os.PathLike[str], stream: TextIO | None) -> tuple[int, int] | None:
    """What a regular file is known by, whatever its name; of the stream where the path is "-"."""
    try:
        if path != "-":
            status = Path(path).stat()
        elif stream is None:
            return None
        else:
            status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):  # not there yet, or no stream of the system
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def local_folder(out: str) -> Path:
    """The folder that `--out` of `bulk` names.

    Raises:
        OptionError: it is a URI.
    """
    if "://" in out:
        raise OptionError(
            f"--out {out} is a URI, and parts are written to a folder of this machine, which may "
            "be a mounted one; name such a folder, and copy it there when the run is done"
        )
    return Path(out)
