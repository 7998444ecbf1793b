"""The sentences in two dimensions, as a picture with a name at each cluster.

Takes vectors (n, D) and the group of each, gives points and a PNG. Sets no global state of
matplotlib, and opens no window.
"""

import io
from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.files.whole import WholeFile

# Okabe and Ito's colors for all kinds of eyes, two of them (yellow, black) replaced.
COLORS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
    *("#e69f00", "#56b4e9", "#882255", "#8c8c2e"),
)
INK, FAINT, PAPER = "#222222", "#777777", "#ffffff"
SIZE = (9.0, 6.4)  # inches
FRAME = (0.03, 0.06, 0.94, 0.79)  # of the map: left, bottom, width, height; parts of SIZE
RIM = 30.0  # points (1/72 inch) across the round rim of a shape
NEAR = 0.17  # of the picture's width: points of a group so near share a shape


def project(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Points (n, 2) that keep neighbors together, by t-SNE; the same for the same vectors."""
    from sklearn.manifold import TSNE

    model: Any = TSNE(
        perplexity=min(12.0, (len(vectors) - 1) / 3),
        metric="cosine",
        init="pca",
        method="exact",  # for few points the quicker one
        random_state=0,
    )
    points = np.asarray(model.fit_transform(vectors), np.float64)  # (n, 2)
    # Lies across: the longer axis becomes x.
    _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    turned: NDArray[np.float64] = (points - points.mean(axis=0)) @ axes.T
    return turned


def draw(
    path: Path,
    points: NDArray[np.float64],
    groups: Sequence[str],
    *,
    title: str,
    subtitle: str,
    note: str,
) -> None:
    """Writes the picture as a PNG.

    Args:
        path: the file; its folder is made.
        points: (n, 2).
        groups: of each point.
        title: what is to be seen.
        subtitle: how to read it.
        note: how it was made; small, in a corner.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=SIZE, dpi=160, facecolor=PAPER)
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_axes(FRAME)
    axes.set_axis_off()
    low, high = points.min(axis=0), points.max(axis=0)
    inches = np.multiply(FRAME[2:], SIZE)
    # The same scale both ways, so that near and far mean what they look like.
    half = max(*((high - low) / inches), 1e-6) * 1.17 * inches / 2
    axes.set_xlim((low + high)[0] / 2 - half[0], (low + high)[0] / 2 + half[0])
    axes.set_ylim((low + high)[1] / 2 - half[1], (low + high)[1] / 2 + half[1])
    near = NEAR * 2 * half[0]
    names = list(dict.fromkeys(groups))
    members = {name: points[[group == name for group in groups]] for name in names}
    colors = dict(zip(names, COLORS, strict=False))
    for name in names:
        _draw_shape(axes, members[name], near, _mix(colors[name], PAPER, 0.86))
    for name in names:
        axes.scatter(
            *members[name].T, s=58, color=colors[name], edgecolor=PAPER, linewidth=1.1, zorder=3
        )
    cores = {name: core(points, near) for name, points in members.items()}
    _draw_labels(canvas.get_renderer(), axes, points, cores, colors)
    figure.text(0.04, 0.94, title, fontsize=19, fontweight="bold", color=INK, va="center")
    figure.text(0.04, 0.885, subtitle, fontsize=11, color=FAINT, va="center")
    figure.text(0.96, 0.035, note, fontsize=8.5, color=FAINT, va="center", ha="right")
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    with WholeFile(path) as file:
        file.stream.write(content.getvalue())


def core(points: NDArray[np.float64], near: float) -> NDArray[np.float64]:
    """The most of a group's points (k, 2) that lie near one of them."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)  # (k, k)
    center = (distances <= near).sum(axis=1).argmax()
    kept: NDArray[np.float64] = points[distances[center] <= near]
    return kept


def _draw_shape(axes: Any, points: NDArray[np.float64], near: float, color: str) -> None:
    """A soft shape behind a group: every triangle of points that lie near one another."""
    from matplotlib.collections import PolyCollection

    triangles = [
        corners
        # Twice or thrice the same point: a line or a dot, which the rim makes visible.
        for corners in combinations_with_replacement(points, 3)
        if max(np.linalg.norm(a - b) for a in corners for b in corners) <= near
    ]
    axes.add_collection(
        PolyCollection(
            triangles,
            facecolor=color,
            edgecolor=color,
            linewidth=RIM,
            joinstyle="round",
            capstyle="round",
            zorder=1,
        )
    )


def _draw_labels(
    renderer: Any,
    axes: Any,
    points: NDArray[np.float64],
    cores: dict[str, NDArray[np.float64]],
    colors: dict[str, str],
) -> None:
    """Each group's name beside its core, where it covers least."""
    from matplotlib.patheffects import withStroke

    to_pixels = axes.transData
    dots = to_pixels.transform(points)  # (n, 2)
    gap = RIM / 2 / 72 * axes.figure.dpi + 2  # pixels, to stand off the shapes
    frame = axes.get_window_extent(renderer).get_points()  # (2, 2): lower left, upper right
    taken: list[NDArray[np.float64]] = []
    for name, members in cores.items():
        text = axes.text(
            0,
            0,
            name,
            fontsize=13.5,
            fontweight="bold",
            color=_mix(colors[name], INK, 0.3),
            ha="center",
            va="center",
            zorder=4,
            path_effects=[withStroke(linewidth=3.5, foreground=PAPER)],
        )
        half = np.diff(text.get_window_extent(renderer).get_points(), axis=0)[0] / 2  # (2,)
        places = _places(to_pixels.transform(members), half, gap)
        costs = [_cost(place, half, gap - 8, dots, taken, frame) for place in places]
        place = places[int(np.argmin(costs))]
        taken.append(np.stack([place - half, place + half]))
        text.set_position(to_pixels.inverted().transform(place))


def _places(
    pixels: NDArray[np.float64], half: NDArray[np.float64], gap: float
) -> list[NDArray[np.float64]]:
    """Centers for a label around a group, the best liked first; in pixels."""
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    middle = np.median(pixels, axis=0)
    above, below = high[1] + gap + half[1], low[1] - gap - half[1]
    right, left = high[0] + gap + half[0], low[0] - gap - half[0]
    return [
        np.array(place)
        for place in (
            (middle[0], above),
            (middle[0], below),
            (right, middle[1]),
            (left, middle[1]),
            (right - half[0], above),
            (left + half[0], above),
            (right - half[0], below),
            (left + half[0], below),
            (middle[0], middle[1]),
        )
    ]


def _cost(
    place: NDArray[np.float64],
    half: NDArray[np.float64],
    room: float,
    dots: NDArray[np.float64],
    taken: Sequence[NDArray[np.float64]],
    frame: NDArray[np.float64],
) -> float:
    """What a label at a place would cover: shapes, dots, other labels, the picture's edge."""
    low, high = place - half, place + half
    covered = int(((dots > low - room) & (dots < high + room)).all(axis=1).sum())
    covered += 3 * int(((dots > low - 6) & (dots < high + 6)).all(axis=1).sum())
    crossed = sum(bool((low < other[1]).all() and (high > other[0]).all()) for other in taken)
    outside = bool((low < frame[0]).any() or (high > frame[1]).any())
    return covered + 20 * crossed + 50 * outside


def _mix(color: str, other: str, part: float) -> str:
    """A color with a part of another in it."""
    pairs = [(int(color[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in pairs)
