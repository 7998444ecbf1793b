"""`make fidelity-photos PHOTOS=folder`: int8 image towers against fp32, on real photographs.

Two towers: a trained ViT's weights in EVA02's places (eva_of_vit.py), and jina-clip-v2's full size
with seeded weights and massive activations put into them. Each goes the exporter's own way: fitted
to its calibration images, gated on its sample images, finer where it misses its bar. Beside it
stand the same integers without fitting, each weight to its nearest. Prints Markdown, writes JSON;
exit code 1 if int8 misses its bar.
"""

import argparse
import datetime
import json
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import places
from bench.clip.run import seeded_source
from bench.fidelity.eva_of_vit import eva_of_vit, vit_vectors
from bench.fidelity.measures import Vectors, compare, cosines
from embedge.engine.providers.cpu import Cpu
from embedge.engine.session import OnnxSession
from embedge.images.pipeline import decode_images
from embedge.items import Items
from embedge.machine.resources import cpu_name, threads_here
from embedge_export.families.family import ImageTower
from embedge_export.gate.compare import compare_image_graph
from embedge_export.gate.report import TaskReport
from embedge_export.model import open_model
from embedge_export.precision import PRECISIONS
from embedge_export.source.folder import open_source
from embedge_export.write import image_network, write, write_refined
from support import massive

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
BAR = 0.995  # lowest cosine of int8
TOWERS = ("vit", "full")
NEAREST = "int8, nearest"


def _quiet(label: str) -> None:
    """For walks whose steps nobody follows."""


def open_tower(name: str, out: Path) -> ImageTower:
    """One of `TOWERS`; what it is made of is kept in `out`."""
    if name == "vit":
        vit_tower, vit = eva_of_vit()
        pixels = vit_tower.pixels()
        own = vit_tower.reference(pixels, advance=_quiet)
        near = cosines(own, vit_vectors(vit, pixels))
        print(
            f"  the tower and the ViT itself: cosine {near.min():.3f}, {near.mean():.3f} in the "
            "mean",
            file=sys.stderr,
        )
        return vit_tower
    source = seeded_source(out, "full")
    folder = source.with_name(f"{source.name}-massive")
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source, part)
        massive.inject_vision(part)
        part.rename(folder)
    tower = open_model(open_source(folder)).image
    assert tower is not None
    return tower


def write_graphs(tower: ImageTower, out: Path, threads: int) -> TaskReport:
    """fp32 and int8 as an export writes them, and int8 without fitting; returns int8's gate."""
    shutil.rmtree(out, ignore_errors=True)
    (out / "nearest").mkdir(parents=True)
    pixels = tower.pixels()
    judge = partial(
        compare_image_graph,
        pixels=pixels,
        reference=tower.reference(pixels, advance=_quiet),
        threads=threads,
    )
    wanted = [PRECISIONS["fp32"], PRECISIONS["int8"]]
    network = image_network(tower, ["photos"])
    _, (_, report) = write_refined(network, wanted, out, judge=judge)
    write(network, wanted[1:], out / "nearest")
    return report


def measure(
    tower: ImageTower, graphs: Path, photos: Sequence[Path], threads: int
) -> dict[str, Any]:
    """Figures of both int8 graphs against fp32."""
    places = {
        "fp32": graphs / "image.fp32.onnx",
        "int8": graphs / "image.int8.onnx",
        NEAREST: graphs / "nearest" / "image.int8.onnx",
    }
    sessions = {
        name: OnnxSession(path, device="cpu", threads=threads, tower="image")
        for name, path in places.items()
    }
    rows: dict[str, list[Vectors]] = {name: [] for name in places}
    decoded = decode_images(
        photos,
        range(len(photos)),
        tower.input,
        Items("images", on_error=_refuse),
        upright=True,
        allow_urls=False,
        threads=Cpu.image_decoders,
        per_run=1,
    )
    for _, pixels in decoded:
        for name, session in sessions.items():
            rows[name].append(session.run(pixels[None]))
    vectors = {name: np.concatenate(found) for name, found in rows.items()}
    return {name: compare(vectors[name], vectors["fp32"]) for name in ("int8", NEAREST)}


def _refuse(index: int, reason: str) -> None:
    raise SystemExit(f"photograph {index}: {reason}; take it out of the folder")


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    keys = ("cosine_min", "cosine_p1", "cosine_mean", "spearman", "neighbors_kept")
    lines = [
        "| tower | weights | least cosine | 1st percentile | mean | Spearman | top-10 kept |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for tower, found in results.items():
        for way in ("int8", NEAREST):
            cells = [tower, way, *(f"{found[way][key]:.5f}" for key in keys)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Measures, prints, writes photos.json; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder of photographs")
    parser.add_argument("--towers", default=",".join(TOWERS), help=f"of {', '.join(TOWERS)}")
    parser.add_argument("--most", type=int, help="photographs, spread over the folder's")
    parser.add_argument("--threads", type=int, default=threads_here().value)
    parser.add_argument(
        "--out", type=Path, default=places.ROOT / "bench", help="where things are kept"
    )
    options = parser.parse_args()
    photos = sorted(p for p in options.photos.rglob("*") if p.suffix.lower() in ENDINGS)
    if not photos:
        parser.error(f"{options.photos} holds no {', '.join(ENDINGS)}")
    if options.most is not None and options.most < len(photos):
        chosen = np.linspace(0, len(photos) - 1, options.most).round().astype(int)
        photos = [photos[index] for index in chosen]
    results: dict[str, dict[str, Any]] = {}
    for name in options.towers.split(","):
        tower, graphs = open_tower(name, options.out), options.out / f"photos-{name}"
        gate = write_graphs(tower, graphs, options.threads)
        print(f"  {name}: gate {gate.cosine_min:.6f}, finer {list(gate.finer)}", file=sys.stderr)
        results[name] = measure(tower, graphs, photos, options.threads)
        results[name]["gate"] = {"cosine_min": gate.cosine_min, "finer": list(gate.finer)}
        print(table({name: results[name]}), file=sys.stderr, flush=True)
    record = {
        "cpu": cpu_name(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "photos": len(photos),
        "results": results,
    }
    (options.out / "photos.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    print(f"{len(photos)} photographs, {record['cpu']}, {record['date']}\n\n{table(results)}")
    low = [name for name, found in results.items() if found["int8"]["cosine_min"] < BAR]
    for name in low:
        print(f"MISSED  {name}: int8's least cosine is below {BAR}")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
