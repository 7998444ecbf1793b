"""`embedge pull`: fetches a finished pack into the user's pack folder."""

import argparse
import urllib.parse
from pathlib import Path

from embedge.cli import arguments, screen
from embedge.errors import OptionError
from embedge.pack.manifest import MANIFEST
from embedge.pack.shelf import place_of
from embedge.progress import ProgressBar
from embedge.sizes import size_text

SUMMARY = "fetch a finished pack into the pack folder"
DESCRIPTION = """\
Fetches a pack from SOURCE, the address of its folder or a folder, into the pack folder, where it is
found by its name. The manifest is checked first, then every file by its size and sha256; what was
fetched before a connection broke is not fetched again. Nothing of a pack is run."""
EXAMPLES = (
    "embedge pull https://models.example.org/packs/v5-small",
    "embedge pull /media/stick/v5-small --name v5",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "source", metavar="SOURCE", help=f"an http(s) address or a folder that holds {MANIFEST}"
    )
    parser.add_argument(
        "--name", metavar="NAME", help="the pack's name here (default: the last part of SOURCE)"
    )
    arguments.add_progress_option(parser)


def run(options: argparse.Namespace) -> int:
    """Fetches the pack."""
    from embedge.pulling import is_url, pull

    path = urllib.parse.urlsplit(options.source).path if is_url(options.source) else options.source
    last = Path(path.removesuffix(MANIFEST).rstrip("/")).name
    if not (options.name or last):
        raise OptionError(
            f"SOURCE {options.source!r} ends in no name; give the address of a pack's folder, or "
            "--name"
        )
    place = place_of(options.name or urllib.parse.unquote(last))
    with ProgressBar(options.progress) as progress:
        manifest = pull(
            options.source,
            place,
            progress=lambda done, total, name: progress.update(done / max(total, 1), name),
        )
    size = sum(entry.size for entry in manifest.files.values())
    screen.show(
        f"{place}: {manifest.model_id}, license {manifest.license or 'unknown'}, {size_text(size)}"
    )
    return 0
