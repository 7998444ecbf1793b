"""What the commands of every race take: contenders, threads, turns, and where things are kept."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import facts


def race_options(parser: argparse.ArgumentParser, names: Sequence[str]) -> argparse.Namespace:
    """Adds them to a parser and parses; `peers` becomes a list, each of `names`."""
    parser.add_argument("--peers", default=",".join(names), help="of " + ", ".join(names))
    parser.add_argument("--threads", type=int, default=facts.usable_cores())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument(
        "--longest", type=float, default=120.0, help="seconds a single run may take; else skipped"
    )
    parser.add_argument("--out", type=Path, default=Path("bench"), help="where things are kept")
    options = parser.parse_args()
    options.peers = listed(options.peers)
    if unknown := set(options.peers) - set(names):
        parser.error(f"no such contender: {', '.join(unknown)}; there are {', '.join(names)}")
    return options


def listed(text: str) -> list[str]:
    """The parts between the commas, without those that are empty."""
    return [part.strip() for part in text.split(",") if part.strip()]
