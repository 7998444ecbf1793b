"""Whether the nodes of a cluster can make the same parts: versions, and the folder of the run.

`look` runs on each node, where embedge itself may be missing: it is sent there as code, and imports
what it needs by itself. Its answer is compared here with what the driver has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embedge.errors import ClusterError
from embedge.machine.resources import MOST_THREADS

ABSENT = "none"  # the version of what is not installed


@dataclass(frozen=True, slots=True)
class Seen:
    """What is the same on every node of a run.

    Attributes:
        marker: a file that the driver wrote into the folder of the run.
        versions: by the name of the library; "python" is one of them.
    """

    marker: str
    versions: Mapping[str, str]


def look(marker: str, names: Sequence[str]) -> dict[str, Any]:
    """What a node has: its name, whether it sees the file, and its versions of these libraries."""
    import os
    import platform
    from importlib import import_module, metadata

    def version(name: str) -> str:
        if name == "python":
            return ".".join(platform.python_version_tuple()[:2])
        for package in (name, f"{name}-gpu"):  # ONNX Runtime stands in either
            try:
                held = import_module(name).__version__ if name == "embedge" else None
                return str(held or metadata.version(package))
            except ImportError:  # of which metadata.PackageNotFoundError is one
                continue
        return "none"

    return {
        "node": platform.node(),
        "shared": os.path.exists(marker),  # noqa: PTH110 nothing of ours is there
        "versions": {name: version(name) for name in names},
    }


def check_node(found: Mapping[str, Any], seen: Seen) -> None:
    """Refuses a node whose parts would differ, or would not be found.

    Args:
        found: what `look` gave there.
        seen: what the driver has.

    Raises:
        ClusterError: says what differs.

    >>> seen = Seen("/data/.ray-1", {"numpy": "2.4.6"})
    >>> check_node({"node": "b", "shared": True, "versions": {"numpy": "none"}}, seen)
    Traceback (most recent call last):
    embedge.errors.ClusterError: the Ray node b has no numpy, and this process has numpy 2.4.6; \
install the same versions on all nodes
    """
    node = found["node"]
    for name, version in seen.versions.items():
        if (there := found["versions"].get(name, ABSENT)) != version:
            held = f"no {name}" if there == ABSENT else f"{name} {there}"
            raise ClusterError(
                f"the Ray node {node} has {held}, and this process has {name} {version}; "
                "install the same versions on all nodes"
            )
    if not found["shared"]:
        folder = seen.marker.rpartition("/")[0]
        raise ClusterError(
            f"the Ray node {node} does not see the folder {folder} of this process; choose --out "
            "on a file system that all nodes share, under the same path"
        )


def choose_threads(cpus: Sequence[float], asked: int | None) -> int:
    """CPUs of an actor, which has as many threads.

    Args:
        cpus: of each node.
        asked: by the user; None for those of the smallest node, but no more than bring speed.

    Raises:
        ClusterError: no node has so many.

    >>> choose_threads([64, 4], None), choose_threads([64, 64], None), choose_threads([64, 4], 16)
    (4, 8, 16)
    """
    usable = [int(count) for count in cpus if count >= 1]
    if not usable:
        raise ClusterError("no node of the Ray cluster has a CPU; start one with --num-cpus")
    if asked is not None and asked > max(usable):
        raise ClusterError(
            f"--threads is {asked}, and no node of the Ray cluster has more than {max(usable)} "
            "CPUs; give a smaller number"
        )
    return asked or min(MOST_THREADS, *usable)
