"""What the vectors of an `embed` run are: for the file beside them, and for --resume to compare.

Takes the command's options and the open pack, gives plain JSON. What follows from a default is
resolved: a run that names the default task is the same as one that names none.
"""

import argparse
from typing import TYPE_CHECKING, Any

from embedge.cli.arguments import vector_options

if TYPE_CHECKING:
    from embedge.embedder import Embedder

# What a message calls each of them.
NAMES = {
    "fingerprint": "the pack",
    "precision": "--precision",
    "task": "--task",
    "prompt": "the prompt",
    "dimension": "--truncate-dim",
    "embedding_type": "--embedding-type",
    "max_length": "--max-length",
    "format": "--format",
}


def vector_facts(options: argparse.Namespace, embedder: "Embedder", *, kind: str) -> dict[str, Any]:
    """The facts by name; "prompt" and "max_length" are None for images.

    Args:
        options: of `embed`.
        embedder: of the pack.
        kind: format of the output, "jsonl" or "npy".

    Raises:
        OptionError: an option is not one of this pack's.
    """
    from embedge import __version__
    from embedge.calls import Call

    manifest = embedder.manifest
    call = Call.of(
        manifest,
        tower="image" if options.images else "text",
        **vector_options(options),
    )
    return {
        "embedge": __version__,
        "model": manifest.model_id,
        "fingerprint": manifest.fingerprint(embedder.precision),
        "precision": embedder.precision,
        "task": call.task,
        "prompt": None if options.images else call.prompt,
        "dimension": call.width,
        "embedding_type": options.embedding_type,
        "max_length": None if options.images else call.max_length,
        "format": kind,
    }
