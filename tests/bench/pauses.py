"""`make bench-pauses`: one query, then a pause, as a person types: its time, and the CPU's.

Threads that wait for work stay awake for a while after every run, which takes CPU time for nothing.
Three ways take turns in one process: embedge's own, that of ONNX Runtime left alone, and
spin=False. Of each: milliseconds by the clock of one run, and of the CPU (all threads) for the run
and the pause after it; least and median of the rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import facts
from bench.race.command_line import listed
from bench.race.report import markdown
from bench.race.work import parse
from bench.race.worker import versions
from bench.turns import take_turns
from embedge.engine.loading import load_runtime
from embedge.engine.session_options import session_options
from embedge.pack.contract import INPUTS
from embedge.pack.files import open_pack

PACK = Path("runtime/embedge/default")
SHAPES = "1x16,1x128"
OWN = "-1"  # ONNX Runtime's word for its own way of waiting
VOCABULARY = 24_000  # token ids are drawn below it; every model that is measured has more


def open_sessions(graph: Path, threads: int) -> dict[str, Any]:
    """The same graph, opened three times."""
    own = session_options(threads)
    own.add_session_config_entry("session.intra_op.spin_duration_us", OWN)
    ways = {
        "embedge": session_options(threads),
        "ONNX Runtime's own": own,
        "spin=False": session_options(threads, spin=False),
    }
    return {
        name: load_runtime().InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
        for name, options in ways.items()
    }


def measure(sessions: dict[str, Any], shape: str, rounds: int, pause: float) -> str:
    """All ways at one shape, as a table."""
    (length, *others), rows = parse(shape).lengths, len(parse(shape).lengths)
    assert set(others) <= {length}
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (rows, length))
    feeds = dict(zip(INPUTS, (ids, np.ones_like(ids)), strict=True))
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    runs = {name: _query(session, feeds, taken[name], pause) for name, session in sessions.items()}
    times = take_turns(runs, rounds)
    cells = [[name, _least(taken[name][1:]), _least(times[name].cpu)] for name in sessions]
    return markdown([shape, "run, ms: least (median)", "CPU, ms: least (median)"], cells)


def _query(
    session: Any, feeds: dict[str, Any], taken: list[float], pause: float
) -> Callable[[], object]:
    """A run and a pause; the seconds of the run alone are added to `taken`."""

    def run() -> None:
        start = time.perf_counter()
        session.run(None, feeds)
        taken.append(time.perf_counter() - start)
        time.sleep(pause)

    return run


def _least(seconds: list[float]) -> str:
    return f"{min(seconds) * 1e3:,.1f} ({statistics.median(seconds) * 1e3:,.1f})"


def main() -> None:
    """Prints a table for each pack and shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packs", type=Path, nargs="*", default=[PACK], help="folders of packs")
    parser.add_argument("--shapes", default=SHAPES, help=f"texts x tokens (default: {SHAPES})")
    parser.add_argument("--threads", type=int, default=facts.usable_cores())
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds (default: 0.1)")
    options = parser.parse_args()
    load_runtime().set_default_logger_severity(3)  # it warns of a setting that is set twice
    print(facts.sentence(facts.machine(), options.threads, versions()) + ".")
    for folder in options.packs:
        pack = open_pack(folder)
        manifest = pack.manifest
        graph = manifest.graph(task=manifest.default_task, precision="int8")
        sessions = open_sessions(pack.file(graph.file), options.threads)
        print(f"\n## {pack.folder}")
        for shape in listed(options.shapes):
            print("\n" + measure(sessions, shape, options.rounds, options.pause), flush=True)


if __name__ == "__main__":
    main()
