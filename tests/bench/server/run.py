"""`make bench-server`: embedge serve under load, beside other servers of the same weights.

Each server is started, asked by many clients at once for some seconds, and ended, before the next
one is; in every round all take their turn, and the best round of each is told. Then embedge alone
meets clients that do harm, and SIGTERM under load. The clients share the machine with the server.
Writes server-<model>.md and .json; exits with 0 whatever the figures are.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench import places
from bench.machine import facts
from bench.race.command_line import listed
from bench.race.peers import KINDS, Bench, seeded_source
from bench.server import hostile
from bench.server.contenders import EMBEDGE, NAMES, Contender, LineUp, embedge, prepare
from bench.server.load import Load, put_on
from bench.server.process import Running, started
from bench.server.report import Result, bars_table, end_line, harm_table, load_table
from bench.server.texts import short_texts
from embedge import Embedder

MINI = "mini"
TEXTS = 20_000  # different ones
WARM_UP = 2.0  # seconds
USUAL = 16  # clients that ask as usual while others do harm


def main() -> None:
    """Prepares, measures, writes."""
    options = _options()
    here = facts.machine()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.model_kind == MINI:
        source = places.ROOT / "models" / "embedge-mini"
    else:
        source = seeded_source(options.out, options.model_kind, options.size)
    line_up = prepare(Bench(options.out, source), options.peers, threads=options.threads)
    results = {one.name: Result(one.name) for one in line_up.contenders}
    results |= {name: Result(name, failure=why) for name, why in line_up.absent.items()}
    for _ in range(options.rounds):
        for contender in line_up.contenders:
            measure(contender, results[contender.name], line_up, options)
    encode = library(line_up.pack, options)
    parts = [
        f"# embedge serve: {source.name}",
        facts.sentence(here, options.threads, {}) + ".",
        f"{options.clients:,} clients for {options.seconds:g} s, each with {options.texts} short "
        f"text(s) a request; the best of {options.rounds} round(s).",
        load_table(list(results.values()), options.texts),
        bars_table(list(results.values()), options.texts, encode["best"]),
    ]
    record: dict[str, Any] = {"machine": here, "encode": encode, "options": plain(options)}
    record["servers"] = {name: _record(result) for name, result in results.items()}
    if options.hostile and EMBEDGE in options.peers:
        harms, load, said = suffer(line_up.pack, options)
        parts += [
            f"## Clients that do harm\n\nBeside {USUAL} usual ones, for {options.seconds:g} s; "
            f"limits of {hostile.PATIENCE} s for heads, bodies and readers.",
            harm_table(harms),
            end_line(load, said),
        ]
        record["harms"] = [
            {"name": one.name, "found": one.found, "memory": one.memory, **_load(one.load)}
            for one in harms
        ]
        record["end"] = {"said": said, **_load(load)}
    text = "\n\n".join(parts) + "\n"
    (options.out / f"server-{source.name}.md").write_text(text, encoding="utf-8")
    (options.out / f"server-{source.name}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(text)


def measure(
    contender: Contender, result: Result, line_up: LineUp, options: argparse.Namespace
) -> None:
    """One round of one server; a server that fails has no result."""
    log = options.out / f"server-{contender.name.split()[0]}.log"
    try:
        with started(contender, threads=options.threads, log=log) as running:
            result.seconds_to_ready = running.seconds_to_ready
            result.idle = running.idle
            result.cosine = cosine(running, contender, line_up.pack)
            requests = requests_of(contender, options.texts)
            asyncio.run(put_on(running.port, requests, clients=8, seconds=WARM_UP))
            load = asyncio.run(
                put_on(running.port, requests, clients=options.clients, seconds=options.seconds)
            )
            result.loads.append(load)
            result.peak = max(result.peak, running.peak)
    except (RuntimeError, OSError, ValueError) as error:
        result.failure = str(error)
    rate = result.loads[-1].answered if result.loads else 0.0
    print(
        f"  {contender.name}: {rate:,.0f} requests/s {result.failure}", file=sys.stderr, flush=True
    )


def suffer(pack: Path, options: argparse.Namespace) -> tuple[list[hostile.Harm], Load, str]:
    """embedge among clients that do harm, and its end under load."""
    contender = embedge(pack, options.threads, hostile.OPTIONS)
    requests = requests_of(contender, options.texts)
    log = options.out / "server-hostile.log"
    with started(contender, threads=options.threads, log=log) as running:
        asyncio.run(put_on(running.port, requests, clients=8, seconds=WARM_UP))
        harms = asyncio.run(
            hostile.endure(running, contender, requests, clients=USUAL, seconds=options.seconds)
        )
        clients = min(options.clients, 200)
        load, said = asyncio.run(hostile.terminated(running, requests, clients=clients))
    return harms, load, said


def requests_of(contender: Contender, texts: int) -> list[bytes]:
    """The requests that clients take turns at."""
    several = short_texts(TEXTS)
    return [contender.request(several[start : start + texts]) for start in range(0, TEXTS, texts)]


def cosine(running: Running, contender: Contender, pack: Path) -> float:
    """Of a vector over HTTP with the library's: near 1 for the same weights."""
    text = "How do vaccines train the immune system?"
    body = contender.request([text]).partition(b"\r\n\r\n")[2]
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.port}{contender.path}",
        body,
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        vector = np.array(json.load(response)["data"][0]["embedding"])
    with Embedder(pack, precision="int8") as embedder:
        return float(vector @ embedder.encode(text))


def library(pack: Path, options: argparse.Namespace) -> dict[str, float]:
    """Texts a second of `Embedder.encode`, in a process of its own."""
    command = [sys.executable, "-m", "bench.server.encode", str(pack), str(options.threads)]
    command += [str(min(options.seconds, 10.0)), str(options.clients * options.texts)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=places.environment()
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def plain(options: argparse.Namespace) -> dict[str, Any]:
    """The options as JSON has them."""
    return {name: str(one) if isinstance(one, Path) else one for name, one in vars(options).items()}


def _record(result: Result) -> dict[str, Any]:
    found = asdict(result) | {"loads": [_load(load) for load in result.loads]}
    return {name: value for name, value in found.items() if value == value}  # without NaN


def _load(load: Load) -> dict[str, Any]:
    return {
        "seconds": load.seconds,
        "statuses": dict(load.statuses),
        "failures": dict(load.failures),
        "milliseconds": {str(p): load.percentile(p) for p in (50, 95, 99) if load.latencies},
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model-kind", choices=(MINI, *KINDS), default=MINI)
    parser.add_argument("--size", choices=("tiny", "demo", "full"), default="full")
    parser.add_argument("--peers", default=",".join(NAMES), help=f"of {', '.join(NAMES)}")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--texts", type=int, default=1, help="of one request")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=facts.usable_cores())
    parser.add_argument("--no-hostile", dest="hostile", action="store_false")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="where things are kept")
    options = parser.parse_args()
    options.peers = listed(options.peers)
    if unknown := set(options.peers) - set(NAMES):
        parser.error(f"no such server: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return options


if __name__ == "__main__":
    main()
