"""The command line: `python models/demo [PACK]`, or `python -m demo` beside the package.

Takes a pack, the bundled one by default, prints the three parts of the demo and writes the map.
Exit code 2 with one sentence if something is missing.
"""

import argparse
import contextlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

if not __package__:  # started as a folder: Python then looks inside the package, not beside it
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from demo import drawing, grid
from demo.measured import MODEL, PAGE, read_table, show_measured
from demo.questions import show_answers
from demo.screen import Screen, open_screen
from demo.texts import topic_sentences
from embedge import Embedder, EmbedgeError
from embedge.cli.screen import say
from embedge.reasons import one_line
from embedge.sizes import size_text

ROOT = Path(__file__).resolve().parents[2]
MAP = ROOT / "models" / "packs" / "demo-map.png"
ROWS = 22  # of the map in the terminal


def main() -> int:
    """Runs the demo."""
    parser = argparse.ArgumentParser(prog="demo", description="Show a pack at work.")
    parser.add_argument("pack", nargs="?", help="a pack's folder (default: the bundled one)")
    parser.add_argument("--map", type=Path, default=MAP, help=f"the picture (default: {MAP})")
    options = parser.parse_args()
    for module in ("matplotlib", "sklearn"):
        if importlib.util.find_spec(module) is None:
            say(f"demo: {module} is not installed; `make demo` installs what it needs")
            return 2
    screen = open_screen()
    start = time.perf_counter()
    try:
        with traceless_matplotlib(), Embedder(options.pack) as embedder:
            show_model(screen, embedder)
            screen.heading("1. Twelve questions, answered by a search")
            show_answers(screen, embedder)
            screen.heading("2. Four adapters, each made for one kind of work")
            show_adapters(screen, embedder)
            screen.heading("3. A map of 64 sentences on 8 topics")
            show_map(screen, embedder, options.map)
    except (EmbedgeError, OSError) as error:
        say(f"demo: {one_line(error)}")
        return 2
    show_ending(screen, time.perf_counter() - start, options.pack)
    return 0


@contextlib.contextmanager
def traceless_matplotlib() -> Iterator[None]:
    """Within it, matplotlib's list of fonts goes to a folder that is removed at the end.

    It would stand in the user's home; and where that can't be written, matplotlib would say so on
    stderr. A folder that MPLCONFIGDIR names already is used.
    """
    variable = "MPLCONFIGDIR"
    if os.environ.get(variable):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="embedge-demo-") as folder:
        os.environ[variable] = folder
        try:
            yield
        finally:
            del os.environ[variable]


def show_model(screen: Screen, embedder: Embedder) -> None:
    """Says what runs, and warns where the weights mean nothing."""
    manifest = embedder.manifest
    size = size_text(sum(entry.size for entry in manifest.files.values()))
    screen.show(screen.bold(manifest.model_id))
    screen.paragraph(
        f"{embedder.dimension} dimensions, tasks {', '.join(embedder.tasks)}; {size}, license "
        f"{manifest.license or 'unknown'}",
        indent="  ",
    )
    for name in ("precision", "device", "threads"):
        choice = embedder.choices[name]
        screen.paragraph(f"{name}: {choice.value} ({choice.reason})", indent="  ")
    if manifest.model_id.startswith("seeded/"):
        screen.show()
        screen.paragraph(
            "NOTE: the weights of this model are random. What follows means nothing; it shows "
            "only that the road works."
        )


def show_adapters(screen: Screen, embedder: Embedder) -> None:
    """Shows the measured figures of the bundled model, and says so where another one runs."""
    show_measured(screen, read_table(PAGE.read_text(encoding="utf-8")))
    if embedder.manifest.model_id != MODEL:
        screen.paragraph(
            f"These are the figures of {MODEL}, the bundled model; this pack holds another one.",
            indent="  ",
        )


def show_map(screen: Screen, embedder: Embedder, path: Path) -> None:
    """Prints the map as letters and writes it as a picture."""
    texts, topics = topic_sentences()
    task = "clustering" if "clustering" in embedder.tasks else embedder.manifest.default_task
    points = drawing.project(embedder.encode(texts, task=task))  # (64, 2)
    colors = dict(zip(dict.fromkeys(topics), drawing.COLORS, strict=True))
    letters = {topic[0].upper(): color for topic, color in colors.items()}
    lines = grid.draw(
        points, [topic[0].upper() for topic in topics], columns=screen.width - 4, rows=ROWS
    )
    screen.show()
    for line in lines:
        cells = [screen.tint(cell, letters[cell]) if cell in letters else cell for cell in line]
        screen.show(f"  {''.join(cells)}".rstrip())
    screen.show()
    legend = (f"{topic[0].upper()}\N{NO-BREAK SPACE}{topic}" for topic in colors)
    screen.paragraph("  ".join(legend), indent="  ")
    drawing.draw(
        path,
        points,
        topics,
        title=f"{len(texts)} sentences, {len(colors)} topics",
        subtitle="Each dot is a sentence, placed by its vector; the colors are the true topics.",
        note=f"{embedder.manifest.model_id}, {embedder.precision}, task {task}; t-SNE",
    )
    screen.show()
    screen.show(f"  the same as a picture: {path}")


def show_ending(screen: Screen, seconds: float, pack: str | None) -> None:
    """Says how long it took, and what to try next."""
    screen.show()
    screen.paragraph(f"All of this took {seconds:.1f} s, loading included. Try next:")
    named = f" -p {pack}" if pack else ""
    for command in (
        f'.venv/bin/embedge search "a week off to look after a baby" models/demo/collection{named}',
        f'echo "some text" | .venv/bin/embedge embed{named}',
        f".venv/bin/embedge info{named}",
    ):
        screen.show(f"  {command}")


if __name__ == "__main__":
    raise SystemExit(main())
