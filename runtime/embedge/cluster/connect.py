"""A Ray cluster, connected for a while: errors in one sentence, and Ray's own lines left out."""

import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedge.errors import ClusterError, MissingExtraError
from embedge.reasons import one_line

PATIENCE = 5.0  # seconds until an address that does not answer is given up
_CLIENT = "ray://"
_MOST_PORT = 65535
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected to a cluster; at the end, the work of this process there stops.

    Args:
        address: "auto", the cluster that this machine belongs to; "local", one of this machine
            alone, which ends with the block; or HOST:PORT of a head node.

    Raises:
        MissingExtraError: Ray is not installed; it is an ImportError.
        ClusterError: the cluster cannot be reached, or has another version of Ray or Python.
    """
    # Read when Ray is imported: what its parts in C++ note also stands in its own logs.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # A thread of Ray Data that still runs when the block ends would start another cluster.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    ray = _import_ray()
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would send them
        options["include_dashboard"] = False
    elif address != "auto":
        _check_answers(ray, address)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with _no_stderr():
            ray.init(address=address, **options)
    except (Exception, SystemExit) as error:  # what Ray leaves by where nobody answers
        ray.shutdown()
        raise _unreachable(address, error) from None
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread, where Ray sets none
            signal.signal(signal.SIGTERM, handler)  # Ray's would leave without a word
    try:
        yield ray
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Without what C++ writes there, such as that it was asked to write less."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def quiet(ray: Any) -> None:
    """Keeps what Ray Data says of a run in its own log file."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL + 1)


def _import_ray() -> Any:
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError as error:
        lacks = (error.name or "").split(".")[0] or "a part of it"
        raise MissingExtraError(
            f'--ray needs Ray Data, and {lacks} is not installed; `pip install "embedge[ray]"`'
        ) from None
    return ray


def _check_answers(ray: Any, address: str) -> None:
    """Ray itself waits for two minutes, and then ends the process."""
    if address.startswith(_CLIENT):
        raise ClusterError(
            f"--ray {address} is the address of Ray Client, over which Ray Data does not run; give "
            "the command on a machine of the cluster with --ray auto, or by `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _MOST_PORT:
        raise ClusterError(
            f'--ray {address} is not an address; give "auto", "local" or the HOST:PORT of a head '
            "node"
        )
    if host in _LOCAL:
        host = ray.util.get_node_ip_address()  # as Ray does
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except OSError as error:
        raise _unreachable(address, error) from None


def _unreachable(address: str, error: BaseException) -> ClusterError:
    if address == "auto" and isinstance(error, ConnectionError):
        return ClusterError(
            "--ray auto: no Ray cluster runs on this machine; start one with `ray start --head`, "
            "or name the address of another, or local"
        )
    if isinstance(error, SystemExit):
        reason = "it does not answer as a Ray cluster does"
    elif isinstance(error, OSError):
        reason = error.strerror or one_line(error)
    else:
        reason = one_line(error)
    return ClusterError(f"the Ray cluster {address} cannot be used: {reason}")
