"""`embedge info`: what a pack is, from its manifest alone; needs neither ONNX Runtime nor NumPy."""

import argparse
import json
from typing import Any

from embedge.cli import arguments, screen
from embedge.cli.reports import languages_text
from embedge.pack.fields import written
from embedge.pack.files import Pack, open_pack
from embedge.pack.manifest import Manifest
from embedge.sizes import size_text

SUMMARY = "describe a model pack"
DESCRIPTION = """\
Describes a model pack: model and license, tasks and prompts, dimensions, sizes, and the precisions
with the result of their gate. Reads manifest.json alone; `embedge verify` checks the files."""
EXAMPLES = (
    "embedge info",
    "embedge info packs/v5-small --json",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    arguments.add_pack_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Prints the facts."""
    path = arguments.pack_path(options)
    pack, bundled = open_pack(path), path is None
    if options.json:
        screen.show_json(facts(pack, bundled=bundled), indent=2)
        return 0
    screen.show_lines(screen.table(_rows(pack, bundled=bundled)))
    screen.show()
    screen.show_lines(screen.table(_precision_rows(pack.manifest), right=(1,)))
    return 0


def facts(pack: Pack, *, bundled: bool) -> dict[str, Any]:
    """Everything that `info` prints, for programs."""
    manifest = pack.manifest
    return {
        "pack": str(pack.folder),
        "bundled": bundled,
        "model": manifest.model_id,
        "license": manifest.license,
        "languages": list(manifest.languages),
        "family": manifest.family,
        "revision": manifest.revision,
        "tasks": list(manifest.tasks),
        "default_task": manifest.default_task,
        "prompts": dict(manifest.prompts),
        "default_prompt": manifest.default_prompt,
        "dimension": manifest.dimension,
        "matryoshka_dimensions": list(manifest.matryoshka_dimensions),
        "max_length": manifest.text.max_length if manifest.text else None,
        "image_size": manifest.image.size if manifest.image else None,
        "pooling": manifest.pooling,
        "precisions": {
            precision: {
                "size": manifest.size_of(precision),
                "passed": manifest.passed_gate(precision),
                "verification": written(manifest.verification.get(precision)),
                "fingerprint": manifest.fingerprint(precision),
            }
            for precision in manifest.precisions()
        },
        "size": sum(entry.size for entry in manifest.files.values()),
        "written_by": dict(manifest.written_by),
    }


def gate_text(manifest: Manifest, precision: str) -> str:
    """The result of a precision's gate, in a few words."""
    if precision not in manifest.verification:
        return "not gated"
    return "passed" if manifest.passed_gate(precision) else "MISSED: do not trust its vectors"


def _rows(pack: Pack, *, bundled: bool) -> list[tuple[str, str]]:
    manifest = pack.manifest
    license = manifest.license or "UNKNOWN: ask the model's authors before you use it"
    if "nc" in license.lower().split("-"):
        license += "  (non-commercial use only; ask the model's authors for another)"
    default = manifest.default_prompt
    prompts = [
        f"{name} {json.dumps(text, ensure_ascii=False)}{' (default)' if name == default else ''}"
        for name, text in manifest.prompts.items()
    ]
    tasks = [
        f"{task} (default)" if task == manifest.default_task else task for task in manifest.tasks
    ]
    shorter = sorted(set(manifest.matryoshka_dimensions) - {manifest.dimension})
    widths = ", ".join(str(width) for width in shorter)
    total = sum(entry.size for entry in manifest.files.values())
    size = manifest.image.size if manifest.image else None
    where = f"{pack.folder}{' (bundled with embedge)' if bundled else ''}"
    return [
        ("model", manifest.model_id),
        ("license", license),
        ("languages", languages_text(manifest)),
        ("revision", manifest.revision or "unknown"),
        ("family", f"{manifest.family}, {manifest.pooling} pooling"),
        ("tasks", ", ".join(tasks)),
        ("prompts", ", ".join(prompts) or "none"),
        ("dimension", f"{manifest.dimension}" + (f" (also {widths})" if widths else "")),
        ("max length", f"{manifest.text.max_length} tokens" if manifest.text else "no text tower"),
        *([("images", f"{size} x {size} pixels")] if size else []),
        ("pack", f"{where}, {len(manifest.files)} files, {size_text(total)}"),
        ("written by", ", ".join(f"{k} {v}" for k, v in manifest.written_by.items()) or "unknown"),
    ]


def _precision_rows(manifest: Manifest) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("precision", "size", "gate", "fingerprint")]
    for precision in manifest.precisions():
        size = size_text(manifest.size_of(precision))
        gate = gate_text(manifest, precision)
        rows.append((precision, size, gate, manifest.fingerprint(precision)))
    return rows
