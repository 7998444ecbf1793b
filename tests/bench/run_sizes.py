"""`make bench-runs`: what the size of a run costs, token budgets in turns within one process.

One open network for all budgets, so that nothing but the cut into runs differs. The budgets take
turns, in another order each round, and the rounds are compared: the median, over the rounds, of a
budget's time over the default's in the same round. That holds on a machine that other programs use
too, where the seconds themselves do not. The CPU's time (user and system, of all threads) stands
beside that of the clock. Threads that wait sleep, so that it counts work and no waiting.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.machine import facts
from bench.race.command_line import listed
from bench.race.report import markdown
from bench.race.work import Work, parse, texts_of
from bench.race.worker import versions
from bench.turns import speedups, take_turns
from embedge.calls import Call
from embedge.choices import choose
from embedge.items import Items
from embedge.pack.files import Pack, open_pack
from embedge.runner import Runner
from embedge.sessions import Sessions

BUDGETS = "96,128,192,256,384,544,768,1024,2048,4096"
WORKS = "sentences,paragraphs,32x64"
DEFAULT = "default"
VOCABULARY = 24_000  # token ids are drawn below it; every model that is measured has more
PACK = Path("runtime/embedge/default")


def open_runners(pack: Pack, options: argparse.Namespace) -> dict[str, Runner]:
    """One for the default and for each budget, all on the same open network."""
    assert pack.manifest.text is not None
    runners: dict[str, Runner] = {}
    sessions: Sessions | None = None
    for name in (DEFAULT, *listed(options.budgets)):
        choices = choose(
            pack,
            precision=options.precision,
            device="cpu",
            threads=options.threads,
            token_budget=None if name == DEFAULT else int(name),
            memory_limit=None,
        )
        if name == DEFAULT:
            chosen = choices.token_budget
            print(f"\n## {pack.folder}\n\nThe default is {chosen.value}: {chosen.reason}.")
        if sessions is None:
            sessions = Sessions(pack, choices, arena=False, spin=False, prepared=None)
        runners[name] = Runner(
            pack, choices, sessions, pad_token_id=pack.manifest.text.pad_token_id
        )
    return runners


def measure(call: Call, runners: Mapping[str, Runner], work: Work, rounds: int) -> str:
    """All budgets at one piece of work, as a table."""
    ids = [text.astype(np.int32) for text in texts_of(work, VOCABULARY)]
    times = take_turns({name: _run(call, runner, ids) for name, runner in runners.items()}, rounds)
    rows = []
    for name, runner in runners.items():
        best, typical = min(times[name].wall), statistics.median(times[name].wall)
        speed = f"{work.tokens / best:,.0f} ({work.tokens / typical:,.0f})"
        shares = (f"{ratio:.3f}" for ratio in speedups(times[DEFAULT], times[name]))
        rows.append([name, str(len(list(runner.text_batches(ids)))), speed, *shares])
    head = [work.name, "runs", "tokens/s, best (median)", "x default, median", "best", "CPU"]
    return markdown(head, rows)


def cut(work: Work, tokens: int) -> Work:
    """Its first texts, up to so many tokens: for a large model, or a machine that others use."""
    ends = np.cumsum(work.lengths)
    return Work(work.name, work.lengths[: max(1, int(np.searchsorted(ends, tokens, "right")))])


def _run(call: Call, runner: Runner, ids: list[NDArray[np.int32]]) -> Callable[[], object]:
    return lambda: runner.run(call, runner.text_batches(ids), Items("texts", total=len(ids)))


def main() -> None:
    """Prints a table for each pack and piece of work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packs", type=Path, nargs="*", default=[PACK], help="folders of packs")
    parser.add_argument("--budgets", default=BUDGETS, help=f"(default: {BUDGETS})")
    parser.add_argument("--works", default=WORKS, help=f"(default: {WORKS})")
    parser.add_argument("--tokens", type=int, default=2**31, help="of each work at most")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--threads", type=int, default=facts.usable_cores())
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(facts.sentence(facts.machine(), options.threads, versions()) + ".")
    for folder in options.packs:
        pack = open_pack(folder)
        runners, call = open_runners(pack, options), Call.of(pack.manifest)
        for work in map(parse, listed(options.works)):
            print(
                "\n" + measure(call, runners, cut(work, options.tokens), options.rounds), flush=True
            )


if __name__ == "__main__":
    main()
