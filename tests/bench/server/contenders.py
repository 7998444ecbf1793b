"""Who takes part: servers of one model's weights, how each is started, and what it is asked.

All get the same tokens: embedge and Sentence Transformers put the model's default prompt before a
text, infinity does not, so its texts bring it along.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.race.peers import TASK, Bench, PeerError, environment
from embedge.pack.reading import read_manifest

EMBEDGE, INFINITY, FASTAPI = "embedge", "infinity-emb", "FastAPI + Sentence Transformers"
NAMES = (EMBEDGE, INFINITY, FASTAPI)
# infinity sends reports of use unless it is asked not to.
QUIET = {"INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that can be started."""

    name: str
    command: Callable[[int], list[str]]  # of a port
    path: str  # of OpenAI's route
    ready: str  # answers 200 once the server takes requests
    model: str  # as requests name it
    prefix: str = ""  # before every text

    def request(self, texts: list[str]) -> bytes:
        """A whole HTTP request for the vectors of some texts, as lists of numbers."""
        fields = {"model": self.model, "input": [self.prefix + text for text in texts]}
        body = json.dumps(fields | {"encoding_format": "float"}).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True, slots=True)
class LineUp:
    """Who takes part, and on what."""

    contenders: list[Contender]
    absent: dict[str, str]  # name -> why not
    pack: Path  # of embedge, in int8


def prepare(
    bench: Bench, wanted: list[str], *, threads: int, options: tuple[str, ...] = ()
) -> LineUp:
    """Makes what is missing.

    Args:
        bench: the model.
        wanted: names of contenders.
        threads: for each.
        options: more of `embedge serve`.
    """
    pack = bench.pack(precisions="int8")
    manifest = read_manifest(pack)
    prompt = manifest.prompts[manifest.default_prompt] if manifest.default_prompt else ""
    made, absent = [], {}
    for name in wanted:
        try:
            if name == EMBEDGE:
                made.append(embedge(pack, threads, options))
            elif name == INFINITY:
                made.append(_infinity(bench, prompt))
            else:
                made.append(_fastapi(bench, threads))
        except PeerError as error:
            absent[name] = str(error)
    return LineUp(made, absent, pack)


def embedge(pack: Path, threads: int, options: tuple[str, ...] = ()) -> Contender:
    """`embedge serve`."""

    def command(port: int) -> list[str]:
        serve = [sys.executable, "-m", "embedge", "serve", f"bench={pack}", "--precision", "int8"]
        return [*serve, "--threads", str(threads), "--port", str(port), *options]

    return Contender(EMBEDGE, command, "/v1/embeddings", "/ready", "bench")


def variables(threads: int) -> dict[str, str]:
    """The environment of every server."""
    from bench import places

    return {
        **places.environment(),
        **QUIET,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
    }


def _infinity(bench: Bench, prompt: str) -> Contender:
    python = environment(bench.folder, "infinity")
    model = bench.merged().absolute()
    options = ["--engine", "torch", "--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1"]

    def command(port: int) -> list[str]:
        program = str(python.with_name("infinity_emb"))
        return [program, "v2", "--model-id", str(model), *options, "--port", str(port)]

    return Contender(INFINITY, command, "/embeddings", "/health", TASK, prompt)


def _fastapi(bench: Bench, threads: int) -> Contender:
    python = environment(bench.folder, "fastapi")
    model = bench.merged().absolute()

    def command(port: int) -> list[str]:
        return [str(python), "-m", "bench.server.plain", str(model), str(port), str(threads)]

    return Contender(FASTAPI, command, "/v1/embeddings", "/health", TASK)


def usable_port() -> int:
    """A port that is free now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


assert os.name == "posix", "processes are watched by /proc"
