"""`embedge classify`: which of a few labels fits an image, without any training.

Embeds the labels as texts and the images as images, and compares: the model was trained so that
an image lies near the text that describes it. Knows `Embedder` and how to talk to people.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedge.bulk.image_files import chunked, image_paths
from embedge.cli import arguments, screen
from embedge.cli.interrupt import cancellable
from embedge.cli.libtiff import quiet_libtiff
from embedge.errors import OptionError
from embedge.progress import ProgressBar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedge.embedder import Embedder

SUMMARY = "say which of a few labels fits an image"
DESCRIPTION = """\
Compares each IMAGE (a file, or a folder of images) with the labels, and prints those that fit
best: with probabilities where the pack has the model's scale for them, else with cosines. The model
has seen no examples of the labels; word them as a caption would. An image that cannot be read is
reported on stderr and skipped; the exit code is then 1."""
EXAMPLES = (
    'embedge classify photo.jpg --labels "cat,dog,bird" --pack clip-v2',
    'embedge classify photos/ -l "indoors,outdoors" --template "a photo taken {}" --json',
)

TEMPLATE = "a photo of {}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a file, or a folder of images")
    parser.add_argument(
        "-l",
        "--labels",
        required=True,
        metavar="A,B,C",
        help="the possible labels, separated by commas",
    )
    parser.add_argument(
        "--template",
        default=TEMPLATE,
        metavar="TEXT",
        help=f"sentence for a label, which replaces {{}} (default: {TEMPLATE!r})",
    )
    arguments.add_pack_option(parser)
    parser.add_argument("--task", help="task of the vectors (default: the pack's default task)")
    parser.add_argument(
        "-k",
        "--top-k",
        type=arguments.positive,
        default=3,
        metavar="N",
        help="number of labels to print (default: 3)",
    )
    arguments.add_engine_options(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON line for each image")
    arguments.add_progress_option(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the labels of every image; 1 if some could not be read."""
    labels = split_labels(options.labels)
    if "{}" not in options.template:
        raise OptionError(f"--template {options.template!r} has no {{}} for the label")
    sentences = [options.template.replace("{}", label) for label in labels]
    bad: list[str] = []
    with ProgressBar(options.progress) as progress:

        def refuse(path: Path | str, reason: str) -> None:
            bad.append(reason)
            progress.say(f"embedge: {path}: {reason}")

        quiet_libtiff()
        paths = image_paths(options.images, refuse=refuse)
        with arguments.open_embedder(options) as embedder:
            embedder.encode_image([], task=options.task)  # a wrong pack or option shows here
            texts = cancellable(
                lambda cancel: embedder.encode(
                    sentences, task=options.task, prompt="", cancel=cancel
                )
            )  # (L, D)
            image = embedder.manifest.image
            scale = None if image is None else image.logit_scale
            for start, chunk in chunked(paths):
                vectors, reasons = _embed(
                    embedder, chunk, options.task, progress, start, len(paths)
                )
                for index, path in enumerate(chunk):
                    if index in reasons:
                        refuse(f"image {start + index + 1}", reasons[index])
                        continue
                    scores = score(vectors[index], texts, scale)
                    _print(path, labels, scores, scale is not None, options)
    if bad:
        screen.say(f"embedge: {len(bad)} of {len(paths)} images were left out")
    return 1 if bad else 0


def _embed(
    embedder: "Embedder",
    chunk: Sequence[Path],
    task: str | None,
    progress: ProgressBar,
    start: int,
    total: int,
) -> "tuple[NDArray[Any], dict[int, str]]":
    """The vectors (n, D) of a chunk, and the reasons for those that are NaN."""
    reasons: dict[int, str] = {}

    def report(done: int, _: int) -> None:
        progress.update((start + done) / total, f"{start + done:,} of {total:,} images")

    vectors = cancellable(
        lambda cancel: embedder.encode_image(
            chunk, task=task, on_error=reasons.__setitem__, progress=report, cancel=cancel
        )
    )
    return vectors, reasons


def split_labels(text: str) -> list[str]:
    """The labels between the commas, each once.

    Raises:
        OptionError: fewer than two.
    """
    labels = list(dict.fromkeys(label.strip() for label in text.split(",") if label.strip()))
    if len(labels) < 2:
        raise OptionError(f"--labels {text!r}: give at least two, between commas")
    return labels


def score(image: "NDArray[Any]", texts: "NDArray[Any]", scale: float | None) -> "NDArray[Any]":
    """How well each text (L, D) fits an image (D,): probabilities, or cosines without a scale."""
    import numpy as np

    cosines = np.asarray(texts @ image, np.float64)  # (L,); both have length 1
    if scale is None:
        return cosines
    odds = np.exp(scale * (cosines - cosines.max()))
    return np.asarray(odds / odds.sum())


def _print(
    path: Path,
    labels: Sequence[str],
    scores: "NDArray[Any]",
    probable: bool,
    options: argparse.Namespace,
) -> None:
    order = sorted(range(len(labels)), key=lambda index: -scores[index])[: options.top_k]
    if options.json:
        scored = {labels[index]: round(float(scores[index]), 6) for index in order}
        kind = "probability" if probable else "cosine"
        screen.show_json({"file": str(path), "label": labels[order[0]], kind: scored})
        return
    line = ", ".join(
        f"{labels[index]} {scores[index]:.1%}"
        if probable
        else f"{labels[index]} {scores[index]:.3f}"
        for index in order
    )
    screen.show(f"{path}: {line}")
