"""`embedge pipe`: embeddings for the program that started this one, over its standard streams.

Reads stdin in a thread of its own, so that the main thread sees signals and a reader that went
away; hands every line to `embedge.pipe`.
"""

import argparse
import contextlib
import io
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

from embedge.cli import arguments
from embedge.cli.libtiff import quiet_libtiff
from embedge.cli.streams import input_bytes

if TYPE_CHECKING:
    from embedge.embedder import Embedder
    from embedge.pipe.service import Service

SUMMARY = "answer requests on stdin, as JSON lines, for a program that started this one"
DESCRIPTION = """\
Reads one JSON object a line, {"id": 1, "texts": ["..."]}, and writes a line for each answer,
{"id": 1, "embeddings": [[...]]}. The first line written says that the model is loaded, and what
it is. {"cancel": 1} stops a request. Requests run side by side, and are answered as they are done.
Ends with the end of stdin, when all is answered, or when nobody reads stdout any more."""
EXAMPLES = (
    "embedge pipe",
    "embedge pipe --pack packs/v5-small --threads 2",
    """echo '{"id": 1, "texts": ["one", "two"], "task": "clustering"}' | embedge pipe""",
)
MOST_LINE = 2**26  # bytes
_TURN = 0.2  # seconds between two looks at signals, which Windows shows only then


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    arguments.add_pack_option(parser)
    parser.add_argument(
        "--task", help="task to load before the first line (default: the pack's default task)"
    )
    arguments.add_engine_options(parser)


def run(options: argparse.Namespace) -> int:
    """Answers until stdin ends."""
    from embedge.pipe.service import Service

    quiet_libtiff()
    out = sys.stdout

    def send(line: str) -> None:
        out.write(f"{line}\n")
        out.flush()

    # Whatever a library prints must not stand between the answers.
    with arguments.open_embedder(options) as embedder, contextlib.redirect_stdout(sys.stderr):
        embedder.load(options.task)
        send(_ready(embedder))
        service = Service(embedder, send)
        try:
            _serve(service)
        finally:
            service.close()
    if service.failure is not None:
        service.failure.filename = service.failure.filename or "stdout"
        raise service.failure
    return 0


def _serve(service: "Service") -> None:
    """Hands lines to the service until their end, and waits for the last answer."""
    ended = threading.Event()
    failed: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def read() -> None:
        try:
            _read_lines(_own_input(), service.take, service.refuse)
        except Exception as error:  # carried over to the main thread below
            failed.put(error)
        finally:
            ended.set()

    # A daemon: it may wait for a line when the process has to end.
    threading.Thread(target=read, name="embedge-pipe-input", daemon=True).start()
    while service.failure is None and not ended.wait(_TURN):
        pass
    if not failed.empty():
        raise failed.get()
    while service.failure is None and not service.wait(_TURN):
        pass


def _read_lines(
    stream: BinaryIO, take: Callable[[bytes], None], refuse: Callable[[Any], None]
) -> None:
    """Calls `take` with each line that is not empty; one that is too long is refused, not held."""
    from embedge.pipe.messages import RequestError

    while line := stream.readline(MOST_LINE + 1):
        if len(line) > MOST_LINE and not line.endswith(b"\n"):
            while (rest := stream.readline(2**16)) and not rest.endswith(b"\n"):
                pass
            refuse(
                RequestError(
                    f"a line is longer than {MOST_LINE // 2**20} MiB; send fewer texts at a time"
                )
            )
        elif line.strip():
            take(line)


def _own_input() -> BinaryIO:
    """Standard input under a descriptor of its own.

    Python closes `sys.stdin` when it ends, and aborts where a thread still waits for a line of it.
    """
    try:
        return io.BufferedReader(io.FileIO(os.dup(sys.stdin.fileno()), "rb"))
    except (OSError, AttributeError):  # io.UnsupportedOperation: a host's own object
        return input_bytes()


def _ready(embedder: "Embedder") -> str:
    """The first line: what the program talks to."""
    import json

    from embedge import __version__

    manifest = embedder.manifest
    facts = {
        "embedge": __version__,
        "model": manifest.model_id,
        "fingerprint": manifest.fingerprint(embedder.precision),
        "tasks": list(embedder.tasks),
        "default_task": manifest.default_task,
        "prompts": dict(embedder.prompts),
        "dimension": embedder.dimension,
        "max_length": embedder.max_length,
        "images": manifest.image is not None,
        "precision": embedder.precision,
        "device": embedder.device,
        "threads": embedder.threads,
    }
    return json.dumps({"ready": facts})
