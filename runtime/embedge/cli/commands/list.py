"""`embedge list`: the packs in the user's pack folder, or the models that are known to export."""

import argparse
from typing import Any

from embedge.cli import screen
from embedge.known_models import KNOWN_MODELS, KnownModel
from embedge.pack.shelf import ShelvedPack, packs_folder, shelved_packs
from embedge.sizes import size_text

SUMMARY = "list the packs that are found by name"
DESCRIPTION = """\
Lists the packs in the pack folder, which every command and Embedder() find by name: `packs` in the
folder that the environment variable EMBEDGE_HOME names, else where the system keeps a user's data.
With --models it lists models that are known to export, with the license of each."""
EXAMPLES = (
    "embedge list",
    "embedge list --json",
    "embedge list --models",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "--models", action="store_true", help="list models that are known to export"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Prints the list."""
    if options.models:
        return _show_models(options)
    folder, packs = packs_folder(), shelved_packs()
    if options.json:
        screen.show_json({"folder": str(folder), "packs": [_facts(pack) for pack in packs]})
        return 0
    if not packs:
        screen.note(
            f"embedge: there is no pack in {folder}; `embedge export SOURCE` makes one there, and "
            "`embedge list --models` shows models"
        )
        return 0
    rows = [("name", "model", "license", "precisions", "size")]
    rows += [_row(pack) for pack in packs]
    screen.show_lines(screen.table(rows))
    screen.show()
    screen.show(str(folder))
    return 0


def _show_models(options: argparse.Namespace) -> int:
    if options.json:
        screen.show_json({"models": [_model_facts(known) for known in KNOWN_MODELS]})
        return 0
    rows = [("model", "parameters", "languages", "license")]
    rows += [
        (known.model_id, f"{known.parameters:g} M", known.languages, known.license)
        for known in KNOWN_MODELS
    ]
    screen.show_lines(screen.table(rows, right=(1,)))
    screen.show()
    screen.show("`embedge export MODEL` makes a pack, which is then found by the model's name")
    return 0


def _row(pack: ShelvedPack) -> tuple[str, str, str, str, str]:
    manifest = pack.manifest
    if manifest is None:
        return pack.folder.name, "its manifest cannot be read: `embedge info` says why", "", "", ""
    return (
        pack.folder.name,
        manifest.model_id,
        manifest.license or "unknown",
        ", ".join(manifest.precisions()),
        size_text(sum(entry.size for entry in manifest.files.values())),
    )


def _facts(pack: ShelvedPack) -> dict[str, Any]:
    manifest = pack.manifest
    if manifest is None:
        return {"name": pack.folder.name, "model": None}
    return {
        "name": pack.folder.name,
        "model": manifest.model_id,
        "license": manifest.license,
        "languages": list(manifest.languages),
        "tasks": list(manifest.tasks),
        "dimension": manifest.dimension,
        "precisions": list(manifest.precisions()),
        "size": sum(entry.size for entry in manifest.files.values()),
    }


def _model_facts(known: KnownModel) -> dict[str, Any]:
    return {
        "model": known.model_id,
        "model_type": known.model_type,
        "parameters": round(known.parameters * 1e6),
        "languages": known.languages,
        "license": known.license,
        "pooling": known.pooling,
        "prompts": dict(known.prompts),
        "images": known.images,
        "command": known.command,
    }
