"""What `embedge bulk` embeds: the column of texts or of images, and the inputs that it stands in.

Takes the command's options, gives what `parts.plan` is made from, and what of it the manifest says.
Imports pyarrow; whoever calls it has checked that it is there.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedge.bulk.records import COLUMN
from embedge.cli import arguments
from embedge.errors import OptionError
from embedge.progress import ProgressBar

if TYPE_CHECKING:
    from embedge.parts.columnar import Source
    from embedge.parts.columns import Column

TEXT_ROWS, IMAGE_ROWS = 8192, 256  # of a part; an image takes as long as many texts


def settle_images(options: argparse.Namespace) -> None:
    """Checks the options for images, and makes `options.images` say whether images are embedded.

    Raises:
        OptionError: options contradict each other.
    """
    if options.images and options.image_column is not None:
        raise OptionError(
            "--images takes image files and --image-column a data set; leave one of them out"
        )
    if options.image_root is not None and options.image_column is None:
        raise OptionError("--root is for --image-column; leave it out, or name that column")
    if options.images or options.image_column is not None:
        flag = "--images" if options.images else "--image-column"
        arguments.refuse_text_options(options, flag, ["column"])
        options.images = True
    options.rows = options.rows or (IMAGE_ROWS if options.images else TEXT_ROWS)


def find_sources(
    options: argparse.Namespace, *, out: Path, progress: ProgressBar
) -> tuple["Column", "Sequence[Source]"]:
    """The column that is embedded, and all inputs, looked at.

    Raises:
        InputError: an input cannot be read.
        OptionError: `--root` is not a folder.
    """
    from embedge.parts.columns import TextColumn
    from embedge.parts.image_column import ImageColumn, find_root
    from embedge.parts.image_files import PATH, find_images
    from embedge.parts.inputs import find_inputs
    from embedge.parts.plan import look_at

    if options.images and options.image_column is None:
        return ImageColumn(PATH), find_images(options.inputs, out=out)
    column: Column = TextColumn(options.column or COLUMN)
    if options.images:
        root = None if options.image_root is None else find_root(options.image_root)
        column = ImageColumn(options.image_column, root)
    sources = []
    for item in find_inputs(options.inputs, out=out):
        progress.update(None, f"looking at {item.name}")
        sources.append(look_at(item, column.name))
    return column, sources


def facts_of_inputs(options: argparse.Namespace) -> dict[str, Any]:
    """The options that say what is embedded, by their names, as plain JSON."""
    if not options.images:
        return {"--column": options.column or COLUMN}
    if options.image_column is None:
        return {"--images": True}
    return {"--image-column": options.image_column, "--root": options.image_root}
