"""The command line: builds the parser, runs one command, turns every ending into an exit code.

Takes the arguments, gives an exit code (the table below); each command lives in a module of its
own with `SUMMARY`, `configure(parser)` and `run(arguments) -> int`. Nothing heavy is imported
here or while the parser is built, so that `embedge --help` answers at once and needs neither
ONNX Runtime nor a model.

    0    all good
    1    the command ran and found something wrong: a bad line, a failed check
    2    the request cannot be carried out as it stands: one sentence on stderr says why
    70   a fault of embedge itself (`--debug` shows the traceback)
    129  the terminal went away (SIGHUP)
    130  Ctrl-C
    141  the reader of our output went away
    143  asked to end (SIGTERM)
"""

import argparse
import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from types import ModuleType

from embedge import __version__
from embedge.cli.commands import (
    bench,
    bulk,
    classify,
    completion,
    doctor,
    embed,
    export,
    index,
    info,
    list,
    pipe,
    pull,
    remove,
    search,
    serve,
    verify,
)
from embedge.cli.flags import flags_of, in_flags
from embedge.cli.interrupt import INTERRUPTED, Asked, Stopped, stops
from embedge.cli.parsing import EXAMPLES, USAGE, Parser, add_common_options
from embedge.cli.screen import naming_stdout, say, talking
from embedge.cli.streams import standard_streams
from embedge.errors import CancelledError, EmbedgeError, GateError
from embedge.reasons import one_line

COMMANDS: dict[str, ModuleType] = {
    "embed": embed,
    "bulk": bulk,
    "search": search,
    "index": index,
    "serve": serve,
    "pipe": pipe,
    "classify": classify,
    "info": info,
    "doctor": doctor,
    "verify": verify,
    "bench": bench,
    "export": export,
    "completion": completion,
    "list": list,
    "pull": pull,
    "remove": remove,
}
FOUND, FAULT, BROKEN_PIPE = 1, 70, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, `sys.argv` by default, and returns its exit code.

    A program without standard streams may call it too: what is missing is the null device here.
    """
    with standard_streams():
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    debug, asked = False, Asked()
    flags: Mapping[str, str] = {}
    try:
        parser = build_parser()
        try:
            options, unknown = parser.parse_known_args(_words(arguments))
            command = getattr(options, "parser", parser)
            if unknown and (unknown := command.take_rest(options, unknown)):
                command.refuse(unknown)
        except SystemExit as stop:  # --help, --version, or a usage error that was reported
            return stop.code if isinstance(stop.code, int) else USAGE
        if options.command is None:
            parser.print_help(sys.stderr)
            return USAGE
        debug, flags = options.debug, options.flags
        if options.quiet and getattr(options, "progress", True) is None:
            options.progress = False
        # None where Python code called with arguments: its process is not ours to leave.
        options.command_line = sys.argv[1:] if arguments is None else None
        # This process is ours: warnings are sentences.
        with stops(asked), warnings.catch_warnings(), talking(options):
            warnings.simplefilter("ignore" if options.quiet else "once", UserWarning)
            # Of metadata mostly, and they name no file; what cannot be read is an error anyway.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            warnings.showwarning = partial(_warn, flags)
            code = int(options.run(options))
        with naming_stdout():
            sys.stdout.flush()
    except Exception as error:  # the last door: nothing leaves as a traceback
        return _ending(error, flags, debug=debug) if asked.stop is None else _stopped(asked.stop)
    except KeyboardInterrupt as stop:
        return _stopped(stop)
    return code if asked.stop is None else _stopped(asked.stop)


def _words(arguments: Sequence[str] | None) -> Sequence[str]:
    """The words of the command line; `embedge help COMMAND` is `embedge COMMAND --help`."""
    words = sys.argv[1:] if arguments is None else arguments
    return [*words[1:], "--help"] if words[:1] in (["help"], ("help",)) else words


def _stopped(stop: KeyboardInterrupt) -> int:
    """Says that the command was asked to end; the exit code."""
    if isinstance(stop, Stopped):
        say(f"embedge: stopped ({stop.name})")
        return stop.code
    say("embedge: interrupted")
    return INTERRUPTED


def _warn(flags: Mapping[str, str], message: Warning | str, *_: object, **__: object) -> None:
    """Shows a warning without the line of code that it came from."""
    say(f"embedge: warning: {in_flags(' '.join(str(message).split()), flags)}", mark="warning:")


def _ending(error: Exception, flags: Mapping[str, str], *, debug: bool) -> int:
    """Says in one sentence what went wrong, and chooses the exit code."""
    if isinstance(error, BrokenPipeError):
        # `embedge embed … | head`: the reader has what it wants. What Python still holds for
        # stdout goes nowhere, else the interpreter would complain when it ends.
        stdout = sys.__stdout__
        if stdout is not None and stdout is sys.stdout:  # else it is a host's object
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        return BROKEN_PIPE
    if debug:
        for line in "".join(traceback.format_exception(error)).splitlines():
            say(line)
    if isinstance(error, CancelledError):
        say("embedge: interrupted")
    elif isinstance(error, EmbedgeError):
        say(f"embedge: error: {in_flags(one_line(error), flags)}", mark="error:")
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        say(f"embedge: error: {where}{error.strerror or one_line(error)}", mark="error:")
    else:
        kind = type(error).__name__
        detail = f": {one_line(error)}" if str(error) else ""
        hint = "" if debug else " (run again with --debug to see where, and report it)"
        say(f"embedge: unexpected error: {kind}{detail}{hint}", mark="error:")
    return exit_code(type(error))


def exit_code(kind: type[Exception]) -> int:
    """The exit code of a command that ends with an error of this kind."""
    if issubclass(kind, CancelledError):
        return INTERRUPTED
    if issubclass(kind, GateError):
        return FOUND
    return USAGE if issubclass(kind, (EmbedgeError, OSError)) else FAULT


def build_parser() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(
        prog="embedge",
        description="Embeds texts on any computer: per-task ONNX model packs, run without torch.",
        epilog="A model pack is a folder made by `embedge export`, or the name of one that "
        "`embedge list` shows. Where a command takes a pack, "
        "the environment variable EMBEDGE_PACK names the default, else it is the bundled one. "
        "`embedge COMMAND --help` has examples.",
    )
    version = f"embedge {__version__}"
    parser.add_argument("-V", "--version", action="version", version=version)
    add_common_options(parser, default=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, module in COMMANDS.items():
        examples = "".join(f"  {line}\n" for line in module.EXAMPLES)
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.DESCRIPTION,
            epilog=f"{EXAMPLES}{examples}",
        )
        module.configure(command)
        add_common_options(command, default=argparse.SUPPRESS)
        command.set_defaults(run=module.run, flags=flags_of(command), parser=command, root=parser)
    return parser
