"""What the commands of every race take: contenders, threads, turns, and where things are kept."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.machine import facts
from bench.race.peers import plain


def race_options(
    parser: argparse.ArgumentParser, names: Sequence[str], *, budgets: bool = False
) -> argparse.Namespace:
    """Adds them to a parser and parses; `peers` becomes a list, each of `names`.

    With `budgets`, embedge's may also carry a token budget: "embedge int8 budget 4096".
    """
    also = "; 'embedge int8 budget 4096' is embedge with that token_budget" if budgets else ""
    parser.add_argument("--peers", default=",".join(names), help=f"of {', '.join(names)}{also}")
    parser.add_argument("--threads", type=int, default=facts.usable_cores())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument(
        "--longest", type=float, default=120.0, help="seconds a single run may take; else skipped"
    )
    parser.add_argument("--out", type=Path, default=Path("bench"), help="where things are kept")
    options = parser.parse_args()
    options.peers = listed(options.peers)
    if unknown := {
        name for name in options.peers if (plain(name) if budgets else name) not in names
    }:
        parser.error(f"no such contender: {', '.join(unknown)}; there are {', '.join(names)}")
    return options


def listed(text: str) -> list[str]:
    """The parts between the commas, without those that are empty."""
    return [part.strip() for part in text.split(",") if part.strip()]
