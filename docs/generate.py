"""Writes what the documentation takes from the code: `make docs`.

A page holds blocks between `<!-- generated: NAME -->` and `<!-- end: NAME -->`. Takes every page of
this folder, gives its text with those blocks made again; a test compares the two. Pages are the
same on every version of Python and at every width of a terminal: arguments are read from the
parsers, not from their help.
"""

import argparse
import builtins
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from embedge import __version__, cli, errors
from embedge.cli.commands.serve import LIMITS
from embedge.cli.parsing import EXAMPLES
from embedge.known_models import KNOWN_MODELS
from embedge.pack.reading import FORMAT_VERSION as PACK_FORMAT
from embedge.search.schema import FORMAT_VERSION as INDEX_FORMAT
from embedge.server import own
from embedge.server.app import DIALECTS
from embedge.server.metrics import Metrics
from embedge.server.settings import Settings
from embedge_export.output.reuse import RECIPES
from embedge_export.precision import PRECISIONS

PAGES = Path(__file__).parent
_BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)


def render(page: str) -> str:
    """A page with its blocks made again."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}", page)


def main() -> int:
    """Writes the pages that are out of date; prints their names."""
    for path in sorted(PAGES.glob("*.md")):
        old = path.read_text(encoding="utf-8")
        new = render(old)
        if new != old:
            path.write_text(new, encoding="utf-8")
            print(path)
    return 0


# ---------------------------------------------------------------------------- the command line


def _exit_codes() -> str:
    """The table in the docstring of `embedge.cli`."""
    found = re.findall(r"^ {4}(\d+) +(.+)$", cli.__doc__ or "", re.MULTILINE)
    return _table(("code", "meaning"), [(f"`{code}`", meaning) for code, meaning in found])


def _commands() -> str:
    parser = cli.build_parser()
    (commands,) = (
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    summaries = {choice.dest: choice.help or "" for choice in commands._choices_actions}
    index = [
        (f"[`embedge {name}`](#embedge-{name})", summary) for name, summary in summaries.items()
    ]
    parts = [
        _table(("command", "what it does"), index),
        _table(("for all commands", ""), list(_arguments(parser))),
    ]
    common = set(_arguments(parser))
    for name, command in commands.choices.items():
        rows = [row for row in _arguments(command) if row not in common]
        usage = " ".join(_usage(command))
        parts += [
            f"### embedge {name}",
            f"`embedge {name} {usage}`",
            _plain(command.description or ""),
            _table(("argument", "meaning"), rows),
            f"<!-- not run: they name a reader's own files -->\n```sh\n{_examples(command)}\n```",
        ]
    return "\n\n".join(parts)


def _examples(parser: argparse.ArgumentParser) -> str:
    """The examples of a command's help, a line each."""
    lines = (parser.epilog or "").removeprefix(EXAMPLES).splitlines()
    return "\n".join(line.strip() for line in lines)


def _usage(parser: argparse.ArgumentParser) -> Iterator[str]:
    """`[OPTIONS]`, options that have to be given, then positions."""
    for action in parser._actions:
        if action.option_strings and action.required:
            yield f"{max(action.option_strings, key=len)} {_metavar(action)}"
    yield "[OPTIONS]"
    for action in parser._actions:
        if not action.option_strings:
            yield {"*": "[{} ...]", "?": "[{}]", "+": "{0} [{0} ...]"}.get(
                str(action.nargs), "{}"
            ).format(_metavar(action))


def _arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        takes = "" if action.nargs == 0 else f" {_metavar(action)}"
        names = [f"`{name}{takes}`" for name in action.option_strings] or [f"`{_metavar(action)}`"]
        text = (action.help or "") % {**vars(action), "prog": parser.prog}
        if "-h" in action.option_strings or isinstance(action, argparse._VersionAction):
            text = text.replace("show program's version number and exit", "show the version")
            text = text.replace("show this help message and exit", "show this help")
        yield ", ".join(names), _plain(text)


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper()


# ---------------------------------------------------------------------------- errors


def _kinds(
    base: type[errors.EmbedgeError] = errors.EmbedgeError,
) -> Iterator[type[errors.EmbedgeError]]:
    """A class and those below it, in the order in which they are written."""
    yield base
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from _kinds(kind)


def _error_tree() -> str:
    drawn = (errors.__doc__ or "").partition("    EmbedgeError\n")
    tree = "EmbedgeError\n" + inspect.cleandoc(drawn[2])
    return f"```\n{tree}\n```"


def _errors() -> str:
    rows, attributes = [], []
    for kind in _kinds():
        text, _, rest = (inspect.getdoc(kind) or "").partition("Attributes:\n")
        own = [b.__name__ for b in kind.__bases__ if b.__name__ in vars(builtins)]
        bases = ", ".join(f"`{name}`" for name in own if name != "Exception")
        code = cli.exit_code(kind)
        rows.append((f"`{kind.__name__}`", bases, f"`{code}`", _plain(text)))
        for name, meaning in re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", rest, re.MULTILINE):
            attributes.append((f"`{kind.__name__}.{name}`", _plain(meaning)))
    return "\n\n".join(
        (
            _table(("error", "also a", "exit code", "meaning"), rows),
            _table(("attribute", "meaning"), attributes),
        )
    )


# ---------------------------------------------------------------------------- formats and bars


def _formats() -> str:
    recipes = ", ".join(f"{name}: {number}" for name, number in RECIPES.items())
    return _table(
        ("format", f"version that embedge {__version__} reads and writes"),
        [
            ("pack (`format_version` in manifest.json)", str(PACK_FORMAT)),
            ("recipe of each precision (`source.recipes` in manifest.json)", recipes),
            ("search index (`user_version` of the SQLite file)", str(INDEX_FORMAT)),
            ("prepared weights", "one graph, one version of ONNX Runtime, one kind of CPU"),
        ],
    )


def _known_models() -> str:
    return _table(
        ("model", "million parameters", "languages", "license", "pooling", "command"),
        [
            (
                known.model_id + (r" (\*)" if known.gated else ""),
                f"{known.parameters:g}",
                known.languages,
                known.license,
                known.pooling,
                f"`{known.command}`",
            )
            for known in KNOWN_MODELS
        ],
    )


def _bars() -> str:
    return _table(
        ("precision", "least cosine", "largest difference", "in a batch"),
        [
            (
                name,
                f"{precision.minimum_cosine}",
                "" if precision.largest_difference is None else f"{precision.largest_difference:g}",
                f"{precision.batch_difference:g}",
            )
            for name, precision in PRECISIONS.items()
        ],
    )


# ---------------------------------------------------------------------------- the server


def _server_routes() -> str:
    names: dict[tuple[str, str], list[str]] = {}
    texts: dict[tuple[str, str], tuple[str, str]] = {}
    for dialect in DIALECTS:
        for route in dialect.routes:
            key = route.method, route.path.removesuffix("/") or "/"
            names.setdefault(key, []).append("" if dialect.name == own.NAME else dialect.name)
            summary = re.sub(r" \(.+\)$", "", route.summary)  # the protocol has its own column
            texts.setdefault(key, (_plain(summary), "" if route.open else "yes"))
    rows = [
        (f"`{' '.join(key)}`", ", ".join(dict.fromkeys(names[key])), *text)
        for key, text in texts.items()
    ]
    return _table(("route", "protocol", "what it gives", "needs a key"), rows)


def _server_limits() -> str:
    defaults = {field.name: field.default for field in fields(Settings)}
    return _table(
        ("option", "default", "meaning"),
        [
            (f"`--{name.replace('_', '-')}`", f"{defaults[name]:,}", _plain(text))
            for name, text in LIMITS.items()
        ],
    )


def _server_metrics() -> str:
    rows = []
    for metric in Metrics().registry._collector_to_names:
        if isinstance(metric, MetricWrapperBase):
            ending = {"counter": "_total", "info": "_info"}.get(metric._type, "")
            labels = ", ".join(metric._labelnames)
            rows.append((f"`{metric._name}{ending}`", metric._type, labels, metric._documentation))
    return _table(("metric", "type", "labels", "meaning"), rows)


# ---------------------------------------------------------------------------- Markdown


def _plain(text: str) -> str:
    """Text on one line, whose signs mean nothing to Markdown."""
    line = " ".join(text.split())
    return re.sub(r"(?<![\w`])[<*_]", r"\\\g<0>", line)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


BLOCKS: Mapping[str, Callable[[], str]] = {
    "bars": _bars,
    "commands": _commands,
    "error-tree": _error_tree,
    "errors": _errors,
    "exit-codes": _exit_codes,
    "formats": _formats,
    "known-models": _known_models,
    "server-limits": _server_limits,
    "server-metrics": _server_metrics,
    "server-routes": _server_routes,
}

if __name__ == "__main__":
    sys.exit(main())
