"""The command line's parser: errors of one sentence that suggest a name, and help with examples.

Knows argparse and no command. What all commands take may stand before the command or after it.
"""

import argparse
import difflib
from collections.abc import Iterable
from typing import Any, NoReturn

from embedge.cli.screen import say

USAGE = 2  # exit code of a request that cannot be carried out as it stands
EXAMPLES = "examples:\n"  # what an epilog of examples begins with


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, without the usage block."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.formatter_class = _Formatter

    def error(self, message: str) -> NoReturn:
        """Says what is wrong on one line, and ends."""
        say(f"embedge: error: {message}; see `{self.prog} --help`", mark="error:")
        raise SystemExit(USAGE)

    def take_rest(self, options: argparse.Namespace, words: list[str]) -> list[str]:
        """Gives words that stand behind options to the argument `rest` names; what is left over.

        argparse fills an argument that takes any number of words, none included, with those before
        the first option: of `search QUERY -k 3 PATH` it would not take PATH.
        """
        rest = getattr(options, "rest", None)
        if rest is None or any(word.startswith("-") for word in words):
            return words
        (action,) = (action for action in self._actions if action.dest == rest)
        setattr(
            options, rest, [*getattr(options, rest), *(self._get_value(action, w) for w in words)]
        )
        return []

    def refuse(self, unknown: Iterable[str]) -> NoReturn:
        """The error for arguments that the command does not take."""
        words = list(unknown)
        flags = [name for action in self._actions for name in action.option_strings]
        option = next((word.partition("=")[0] for word in words if word.startswith("-")), None)
        near = [] if option is None else difflib.get_close_matches(option, flags, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        self.error(f"unrecognized arguments: {' '.join(words)}{hint}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuses a value that is none of the choices; names the nearest, and then all."""
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        near = difflib.get_close_matches(str(value), names, 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(names)
        raise argparse.ArgumentError(action, f"invalid choice: {value!r}{hint} (choose {listed})")


def add_common_options(parser: argparse.ArgumentParser, *, default: Any) -> None:
    """The options of all commands; `default` is argparse.SUPPRESS after the command."""
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        default=default,
        help="print errors alone on stderr: no progress, notes or warnings",
    )
    amount.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=default,
        help="also say on stderr what was chosen, and why",
    )
    parser.add_argument("--debug", action="store_true", default=default, help="show tracebacks")


class _Formatter(argparse.HelpFormatter):
    """Fills paragraphs, and leaves examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if not text.startswith(EXAMPLES):
            return super()._fill_text(text, width, indent)
        return "\n".join(f"{indent}{line}" for line in text.splitlines())
