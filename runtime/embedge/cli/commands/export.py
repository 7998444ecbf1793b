"""`embedge export`: hands a model folder or hub id to `embedge_export`, shows progress and gate."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedge.cli import arguments, screen
from embedge.cli.exporter import load_exporter
from embedge.cli.reports import finer_lines, gate_rows
from embedge.errors import OptionError
from embedge.files.paths import absolute_path
from embedge.known_models import find_known_model
from embedge.pack.fields import written
from embedge.pack.manifest import PRECISIONS, Manifest
from embedge.pack.shelf import place_of
from embedge.pack.verification import Report
from embedge.progress import ProgressBar
from embedge.sizes import size_text

SUMMARY = "make a model pack from a model"
DESCRIPTION = """\
Makes a model pack from SOURCE, a folder in the Hugging Face layout or a hub id: merges each task's
adapter, writes one graph for each task and precision, compares every graph with a plain NumPy
reference, and keeps those that pass. With --layout hub it writes a folder for each task instead,
which transformers, Sentence Transformers, Optimum and others load. For a local folder the network
is never used."""
EXAMPLES = (
    "embedge export models/my-model --out packs/my-model",
    "embedge export models/my-model --out packs/my-model --precisions int8 --tasks retrieval",
    "embedge export BAAI/bge-small-en-v1.5 --out packs/bge-small --json",
    "embedge export all-MiniLM-L6-v2",
    "embedge export models/my-model --layout hub --out hub/my-model",
)

_LAYOUTS = ("pack", "hub")
_HUB_PRECISIONS = ("fp32", "fp16", "int8")  # by default; those of a pack depend on the machine
_DTYPES = ("float32", "bfloat16", "float16")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a model folder, a hub id like org/name, or a name that `embedge list --models` shows",
    )
    parser.add_argument(
        "--out",
        type=folder,
        metavar="DIR",
        help="the pack to make: a new or an empty folder, or that of a pack of this model "
        "(default: one of the model's name in the pack folder, which `embedge list` shows); with "
        "--layout hub, the folder for the task folders",
    )
    parser.add_argument(
        "--layout",
        choices=_LAYOUTS,
        default="pack",
        help="pack: for embedge; hub: folders for other programs, with weights, settings and "
        "graphs in onnx/ (default: pack)",
    )
    parser.add_argument(
        "--tasks",
        metavar="A,B",
        help="tasks to export (default: all of the model); those that the pack has already stay",
    )
    parser.add_argument(
        "--precisions",
        metavar="A,B",
        help=f"precisions to write, of {', '.join(PRECISIONS)} (default: those of a pack that "
        "tasks are added to, else what this machine would run: int8, and fp16 too where CUDA "
        f"works; with --layout hub {','.join(_HUB_PRECISIONS)})",
    )
    parser.add_argument(
        "--revision", metavar="SHA", help="commit of a hub id (default: the newest)"
    )
    parser.add_argument(
        "--offline", action="store_true", help="for a hub id: use only what is in its cache"
    )
    parser.add_argument(
        "--via",
        choices=("optimum",),
        help="take the network from transformers and Optimum, where it is not written here",
    )
    arguments.add_adapter_options(parser)
    group = parser.add_argument_group("in place of what the model's files say")
    group.add_argument(
        "--pooling",
        metavar="MODE",
        help="how token vectors become one: mean, cls, lasttoken, max, mean_sqrt_len_tokens, "
        'weightedmean, or several joined with "+"',
    )
    group.add_argument(
        "--prompt",
        action="append",
        default=[],
        type=arguments.named,
        metavar="NAME=TEXT",
        help='a text put before an input, such as query="query: "; may be given several times',
    )
    group.add_argument("--default-task", metavar="TASK", help="the task of a call that names none")
    group.add_argument("--license", metavar="ID", help="the model's license, such as apache-2.0")
    group.add_argument("--name", metavar="NAME", help="the model's name in the pack")
    parser.add_argument(
        "--merged",
        type=folder,
        metavar="DIR",
        help="also write plain model folders, one per task; those of an earlier run are brought up "
        "to date",
    )
    parser.add_argument(
        "--dtype",
        choices=_DTYPES,
        help="of the weights in plain model folders (default: that of the model with --merged, "
        "float32 with --layout hub)",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace another model's pack in --out; of a pack of this model, remove the tasks "
        "that are not exported",
    )
    parser.add_argument(
        "--accept-failures",
        action="store_true",
        help="keep graphs that miss their bar, marked as failed",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object of the result")
    arguments.add_progress_option(parser)


def run(options: argparse.Namespace) -> int:
    """Exports, and prints the gate; 1 if a precision did not pass it."""
    _check(options)
    tasks = names(options.tasks, "--tasks") if options.tasks is not None else None
    precisions: tuple[str, ...] | None = _HUB_PRECISIONS if options.layout == "hub" else None
    if options.precisions:
        precisions = names(options.precisions, "--precisions")
    for precision in precisions or ():
        if precision not in PRECISIONS:
            raise OptionError(
                f"--precisions: {precision!r} is unknown; choose from {', '.join(PRECISIONS)}"
            )
    _resolve(options)
    make = _make_hub_folders if options.layout == "hub" else _make_pack
    return make(options, tasks, precisions)


def _check(options: argparse.Namespace) -> None:
    """Refuses options that do not belong to the layout."""
    if options.via is not None and (options.merged is not None or options.layout == "hub"):
        raise OptionError(
            f"--via {options.via} makes packs alone: a network of a library has its plain form "
            "already; leave out --merged or --layout hub"
        )
    if options.layout == "hub":
        if options.out is None:
            raise OptionError("--layout hub needs --out, the folder for the task folders")
        for name in ("default_task", "license", "name"):
            if getattr(options, name) is not None:
                raise OptionError(
                    f"--{name.replace('_', '-')} does not go with --layout hub, whose folders have "
                    "the model card and no manifest; leave it out"
                )
        if options.merged is not None:
            raise OptionError(
                "--merged does not go with --layout hub, whose folders hold the merged weights "
                "already; leave it out"
            )
        if options.replace:
            raise OptionError(
                "--replace does not go with --layout hub, which never replaces a folder; remove "
                "the task folders, or name another --out"
            )
    elif options.dtype is not None and options.merged is None:
        raise OptionError(
            "--dtype is that of plain model folders; it needs --merged DIR or --layout hub"
        )


def _resolve(options: argparse.Namespace) -> None:
    """Takes a short name for the hub id that is meant, and names the place of the pack."""
    here = os.path.exists(options.source)  # noqa: PTH110 - false, too, for what cannot be a path
    known = None if here else find_known_model(options.source)
    if known is not None:
        options.source = known.model_id
        if known.prompts and not options.prompt:
            words = " ".join(known.command.split(" ")[3:])
            screen.note(f"embedge: the model card of {known.model_id} asks for prompts: {words}")
    if options.out is None:
        if not options.source.strip():
            raise OptionError(
                "SOURCE is empty (a variable that is not set?); name a model folder or a hub id"
            )
        # A link's own name, not that of the folder that it points to.
        place = absolute_path(options.source, "SOURCE") if here else Path(options.source)
        options.out = place_of(Path(options.name or place).name)


def _make_pack(
    options: argparse.Namespace, tasks: tuple[str, ...] | None, precisions: tuple[str, ...] | None
) -> int:
    export_pack, source = load_exporter("export_pack"), options.source
    if options.merged is not None:
        source = load_exporter("open_for_merging")(
            source,
            options.merged,
            pack=options.out,
            dtype=options.dtype,
            tasks=tasks,
            revision=options.revision,
            offline=options.offline,
            **_overrides(options),
        )
    with ProgressBar(options.progress) as progress:
        manifest: Manifest = export_pack(
            source,
            **_common(options, tasks, precisions, progress),
            **(_overrides(options) if options.merged is None else {}),
            via=options.via,
            replace=options.replace,
        )
    sizes = {precision: manifest.size_of(precision) for precision in manifest.precisions()}
    _show_result(options, manifest, sizes)
    if options.merged is not None:
        _write_merged(source, options)
    made = precisions or manifest.precisions()
    return _missed([p for p in made if not manifest.passed_gate(p)])


def _make_hub_folders(
    options: argparse.Namespace, tasks: tuple[str, ...] | None, precisions: tuple[str, ...] | None
) -> int:
    with ProgressBar(options.progress) as progress:
        made = load_exporter("export_hub_folders")(
            options.source,
            **_common(options, tasks, precisions, progress),
            **_overrides(options),
            dtype=options.dtype or "float32",
        )
    sizes = {
        str(folder): sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in made.folders.values()
    }
    _show_result(options, made, sizes)
    return _missed([p for p in precisions or () if not made.verification[p].passed])


def _common(
    options: argparse.Namespace,
    tasks: tuple[str, ...] | None,
    precisions: tuple[str, ...] | None,
    progress: ProgressBar,
) -> dict[str, Any]:
    """What both layouts take."""

    def report(step: Any) -> None:
        part = step.done / step.total if step.total else None
        words = (step.task, step.precision, step.label)
        progress.update(part, " ".join(word for word in words if word))

    return {
        "out": options.out,
        "tasks": tasks,
        "precisions": precisions,
        "revision": options.revision,
        "offline": options.offline,
        "accept_failures": options.accept_failures,
        "progress": report,
        "notice": lambda line: screen.note(f"embedge: {line}", above=progress),
    }


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    """What was said to count in place of what the model's files say."""
    prompts = arguments.by_name(options.prompt, "--prompt")
    words = {
        **arguments.adapter_options(options),
        "pooling": options.pooling,
        "prompts": prompts or None,
        "default_task": options.default_task,
        "license": options.license,
        "name": options.name,
    }
    return {name: value for name, value in words.items() if value is not None}


def _show_result(options: argparse.Namespace, made: Any, sizes: Mapping[str, int]) -> None:
    """What was made, from a manifest or hub folders: the gate, sizes in bytes by name, model."""
    if options.json:
        screen.show_json(
            {
                "out": str(options.out),
                "model": made.model_id,
                "license": made.license or None,
                "sizes": dict(sizes),
                "precisions": {
                    precision: {"passed": report.passed, "verification": written(report)}
                    for precision, report in made.verification.items()
                },
            },
            indent=2,
        )
        return
    _show_gate(made.verification)
    for name, size in sizes.items():
        screen.show(f"{name}: {size_text(size)}")
    screen.show(f"{options.out}: {made.model_id}, license {made.license or 'unknown'}")


def _show_gate(verification: Mapping[str, Report]) -> None:
    screen.show_lines(screen.table(gate_rows(verification)))
    for line in finer_lines(verification):
        screen.show(line)
    screen.show()


def _missed(precisions: list[str]) -> int:
    if precisions:
        screen.say(f"embedge: {', '.join(precisions)} did not pass the gate")
    return 1 if precisions else 0


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

        load_exporter("write_merged")(
            source,
            options.merged,
            dtype=options.dtype,
            progress=report,
            notice=lambda line: screen.note(f"embedge: {line}", above=progress),
        )


def names(text: str, option: str) -> tuple[str, ...]:
    """The names in "a, b"; `OptionError` if there is none, or one stands twice."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found or len(set(found)) != len(found):
        raise OptionError(f"{option} {text!r}: give names with commas between, each once")
    return found
