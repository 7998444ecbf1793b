"""The folder of a run: what the run is, which parts are done, and whether they are as written.

    DIR/manifest.json         the pack, the options, the inputs, the versions; no times
    DIR/parts/*.parquet       the parts, each whole
    DIR/done-1-of-1.jsonl     a line for each part that is done, one file for each shard
    DIR/loaded.jsonl          what `embedge.stores` has loaded into vector stores

A run that finds a manifest goes on only if it is the same run. A part counts when its line stands
in a list; one without, which a killed process has left, is made again, with the same bytes.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from embedge.errors import OptionError
from embedge.files.regular import read_regular
from embedge.files.whole import WholeFile, find_obstacle
from embedge.parts.lists import DoneList, open_list, read_list
from embedge.parts.part import Entry
from embedge.parts.plan import Shard

MANIFEST = "manifest.json"
FORMAT = 1
_MOST_BYTES = 2**30  # of a manifest, which lists the inputs
_BLOCK = 2**20
_AGAIN = "name another --out, or remove that folder to start again"


class RunFolder:
    """The folder of a run, open for one shard; a context manager.

    Args:
        path: made if it is not there; its parent is.
        shard: whose parts are made here.

    Raises:
        OptionError: it holds something else, or another process makes the same shard.
        OSError: it cannot be made.
    """

    def __init__(self, path: Path, shard: Shard) -> None:
        self.path = path
        self._shard = shard
        if path.exists() and not path.is_dir():
            raise OptionError(f"--out {path} is a file; name a folder")
        held = {item.name for item in path.iterdir()} if path.is_dir() else set()
        # Another shard may be writing the manifest right now, or was killed while it did.
        held = {name for name in held if not name.startswith(f".{MANIFEST}.")}
        if held and MANIFEST not in held:
            raise OptionError(
                f"--out {path} holds other files than those of a run; name a new folder"
            )
        if not held and (obstacle := find_obstacle(path)) and not path.is_dir():
            raise OptionError(f"--out {path} {obstacle}")

    def claim(self, job: Mapping[str, Any]) -> None:
        """Makes it the folder of this run.

        Args:
            job: what the run is, as plain JSON: groups of facts by name.

        Raises:
            OptionError: it is another run's; names what differs.
        """
        path = self.path / MANIFEST
        self.path.mkdir(exist_ok=True)
        if not path.exists():
            text = json.dumps({"format": FORMAT, **job}, indent=2)
            with WholeFile(path) as file:
                file.stream.write(text.encode() + b"\n")
        _check_same(path, json.loads(json.dumps(job)))
        self.parts.mkdir(exist_ok=True)  # after the manifest: a folder with no manifest is refused

    @property
    def parts(self) -> Path:
        """Where the parts stand."""
        return self.path / "parts"

    def open_list(self) -> contextlib.AbstractContextManager[DoneList]:
        """The list of this shard, for its process alone.

        Raises:
            OptionError: another process has it.
        """
        shard = self._shard
        busy = (
            f"another process makes shard {shard.index}/{shard.count} in {self.path}; wait for it, "
            "or give each process a --shard of its own"
        )
        path = self.path / f"done-{shard.index}-of-{shard.count}.jsonl"
        return open_list(path, busy=busy)

    def done(self) -> dict[str, Entry]:
        """The parts that are done, by all shards, by name; files that are gone do not count."""
        found = {}
        for path in sorted(self.path.glob("done-*.jsonl")):
            for line in read_list(path):
                with contextlib.suppress(TypeError):  # of another version
                    entry = Entry(**line)
                    found[entry.part] = entry
        return {name: entry for name, entry in found.items() if self._size(name) == entry.bytes}

    def changed(
        self, entries: Iterable[Entry], on_checked: Callable[[], None] = lambda: None
    ) -> set[str]:
        """The names of parts whose bytes are not those that were written."""
        found = set()
        for entry in entries:
            digest = hashlib.sha256()
            with (self.parts / entry.part).open("rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
            if digest.hexdigest() != entry.sha256:
                found.add(entry.part)
            on_checked()
        return found

    def clean(self, names: Iterable[str]) -> None:
        """Removes temporary files of these parts, which killed processes have left."""
        mine = set(names)
        for path in self.parts.glob(".*.part"):
            if path.name.split(".")[1] + ".parquet" in mine:
                with contextlib.suppress(OSError):  # one that is being written has a lock
                    WholeFile(self.parts / "part", part=path).abandon()

    def _size(self, name: str) -> int | None:
        try:
            return (self.parts / Path(name).name).stat().st_size
        except OSError:
            return None


def _check_same(path: Path, job: Mapping[str, Any]) -> None:
    try:
        found = json.loads(read_regular(path, most=_MOST_BYTES))
        known = found.pop("format") == FORMAT
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise OptionError(f"{path} does not say what run this is; {_AGAIN}") from None
    if not known:
        raise OptionError(f"{path} is of another version of embedge; {_AGAIN}")
    if difference := _difference(found, job):
        raise OptionError(f"{path.parent} holds another run: {difference}; {_AGAIN}")


def _difference(found: Mapping[str, Any], job: Mapping[str, Any]) -> str | None:
    """What differs, in words; None if nothing does."""
    if found.get("inputs") != job["inputs"]:
        return _different_inputs(found.get("inputs") or [], job["inputs"])
    for group in dict.fromkeys([*job, *found]):
        there, here = found.get(group), job.get(group)
        if there == here:
            continue
        if isinstance(there, dict) and isinstance(here, dict):
            for name in dict.fromkeys([*here, *there]):
                if there.get(name) != here.get(name):
                    return f"{name} was {there.get(name)!r}, and is {here.get(name)!r}"
        return f"{group} was {there!r}, and is {here!r}"
    return None


def _different_inputs(there: list[Any], here: list[Any]) -> str:
    names = [[item["name"] for item in items] for items in (there, here)]
    for item, other in zip(there, here, strict=False):
        if item["name"] == other["name"] and item != other:
            return f"{item['name']} has changed"
    new = [name for name in names[1] if name not in names[0]]
    gone = [name for name in names[0] if name not in names[1]]
    if new or gone:
        return f"the input {new[0]} is new" if new else f"the input {gone[0]} is gone"
    return "the inputs stand in another order"
