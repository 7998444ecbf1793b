"""`embedge export`: hands a model folder or hub id to `embedge_export`, shows progress and gate."""

import argparse
from pathlib import Path
from typing import Any

from embedge.cli import screen
from embedge.cli.exporter import load_exporter
from embedge.cli.progress import ProgressBar, add_progress_option
from embedge.cli.reports import finer_lines, gate_rows
from embedge.errors import OptionError
from embedge.pack.manifest import PRECISIONS, Manifest

SUMMARY = "make a model pack from a model"
DESCRIPTION = """\
Makes a model pack from SOURCE, a folder in the Hugging Face layout or a hub id: merges each task's
adapter, writes one graph for each task and precision, compares every graph with a plain NumPy
reference, and keeps those that pass. For a local folder the network is never used."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "source", metavar="SOURCE", help="a model folder, or a hub id like org/name"
    )
    parser.add_argument(
        "--out",
        type=folder,
        required=True,
        metavar="DIR",
        help="the pack to make: a new or an empty folder, or that of a pack of this model",
    )
    parser.add_argument(
        "--tasks", metavar="A,B", help="tasks to export (default: all of the model)"
    )
    parser.add_argument(
        "--precisions",
        default="fp16,int8",
        metavar="A,B",
        help=f"precisions to write, of {', '.join(PRECISIONS)} (default: fp16,int8)",
    )
    parser.add_argument(
        "--revision", metavar="SHA", help="commit of a hub id (default: the newest)"
    )
    parser.add_argument(
        "--offline", action="store_true", help="for a hub id: use only what is in its cache"
    )
    parser.add_argument(
        "--merged",
        type=folder,
        metavar="DIR",
        help="also write plain model folders, one per task, in bfloat16",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace another model's pack in --out",
    )
    parser.add_argument(
        "--accept-failures",
        action="store_true",
        help="keep graphs that miss their bar, marked as failed",
    )
    add_progress_option(parser)


def run(options: argparse.Namespace) -> int:
    """Exports, and prints the gate; 1 if a precision did not pass it."""
    tasks = names(options.tasks, "--tasks") if options.tasks is not None else None
    precisions = names(options.precisions, "--precisions")
    for precision in precisions:
        if precision not in PRECISIONS:
            raise OptionError(
                f"--precisions: {precision!r} is unknown; choose from {', '.join(PRECISIONS)}"
            )
    export_pack, source = load_exporter("export_pack"), options.source
    if options.merged is not None:
        source = load_exporter("open_for_merging")(
            source,
            options.merged,
            pack=options.out,
            tasks=tasks,
            revision=options.revision,
            offline=options.offline,
        )
    with ProgressBar(options.progress) as progress:

        def report(step: Any) -> None:
            part = step.done / step.total if step.total else None
            words = (step.task, step.precision, step.label)
            progress.update(part, " ".join(word for word in words if word))

        manifest: Manifest = export_pack(
            source,
            out=options.out,
            tasks=tasks,
            precisions=precisions,
            revision=options.revision,
            offline=options.offline,
            accept_failures=options.accept_failures,
            replace=options.replace,
            progress=report,
            notice=lambda line: progress.say(f"embedge: {line}"),
        )
    _show(manifest, options.out)
    if options.merged is not None:
        _write_merged(source, options)
    missed = [p for p in precisions if not manifest.passed_gate(p)]
    if missed:
        screen.say(f"embedge: {', '.join(missed)} did not pass the gate")
    return 1 if missed else 0


def _show(manifest: Manifest, out: Path) -> None:
    """Prints the gate, and what was made."""
    screen.show_lines(screen.table(gate_rows(manifest.verification)))
    for line in finer_lines(manifest.verification):
        screen.show(line)
    screen.show()
    for precision in manifest.precisions():
        screen.show(f"{precision}: {screen.size_text(manifest.size_of(precision))}")
    screen.show(f"{out}: {manifest.model_id}, license {manifest.license or 'unknown'}")


def folder(text: str) -> Path:
    """An argparse type: a folder's name; the empty one of an unset variable is none."""
    if not text.strip():
        raise argparse.ArgumentTypeError(
            "it is empty (a variable that is not set?); name the folder to write to"
        )
    return Path(text)


def _write_merged(source: Any, options: argparse.Namespace) -> None:
    """Writes each task's weights with its adapter merged in, for other programs."""
    with ProgressBar(options.progress) as progress:

        def report(task: str, done: int, total: int) -> None:
            progress.update(done / max(total, 1), f"{task} merged, tensors")

        load_exporter("write_merged")(source, options.merged, progress=report)


def names(text: str, option: str) -> tuple[str, ...]:
    """The names in "a, b"; `OptionError` if there is none, or one stands twice."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found or len(set(found)) != len(found):
        raise OptionError(f"{option} {text!r}: give names with commas between, each once")
    return found
