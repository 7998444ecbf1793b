"""The race's worker for jina-clip-v2: its own contenders, each one tower, everything else as there.

An image is a "text" of ids too, so that pieces of work, turns and rates are what they are
elsewhere: "4x1" is four images. Its pixels are noise seeded by its ids, the same for all, drawn
before the clock counts (a contender's first run of a shape is dropped).
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.race import worker
from bench.race.work import Ids
from bench.race.worker import Opener, Run, Vectors


@cache
def noise(ids: tuple[int, ...], size: int) -> NDArray[np.float32]:
    """One image, float32 (3, size, size), as normalized pixels are."""
    return np.random.default_rng(ids).standard_normal((3, size, size), np.float32)


def of_images(forward: Callable[[Any], Vectors], size: int) -> Run:
    """Runs all images at once; `size` in pixels a side."""

    def run(texts: list[Ids], most: int) -> Vectors:
        return forward(np.stack([noise(tuple(ids.tolist()), size) for ids in texts]))

    return run


def open_embedge(
    path: str, threads: int, *, tower: str, precision: str, device: str = "cpu"
) -> Run:
    """A graph of the exporter's, in the runtime's own session with its default settings."""
    import onnx_ir

    from embedge.engine.session import OnnxSession

    task = "image" if tower == "image" else "retrieval.query"
    graph = Path(path) / f"{task}.{precision}.onnx"
    session = OnnxSession(graph, device=device, threads=threads, tower=tower)
    if tower == "text":
        return worker.batched(session.run)
    shape = onnx_ir.load(graph).graph.inputs[0].shape
    assert shape is not None
    size = shape[-1]
    assert isinstance(size, int)
    return of_images(session.run, size)


def open_torch(path: str, threads: int, *, tower: str, dtype: str, device: str = "cpu") -> Run:
    """towers.py's towers."""
    import torch

    from bench.clip import towers

    torch.set_num_threads(threads)
    kind = getattr(torch, dtype)
    network = getattr(towers, f"{tower}_tower")(Path(path), kind).to(device)

    def forward(*arrays: Any) -> Vectors:
        with torch.inference_mode():
            given = [torch.from_numpy(array).to(device) for array in arrays]
            given = [x.to(kind) if x.is_floating_point() else x for x in given]
            return np.asarray(network(*given).float().cpu().numpy())

    return worker.batched(forward) if tower == "text" else of_images(forward, network.size)


def open_openvino(path: str, threads: int, *, tower: str, precision: str, group: int | None) -> Run:
    """convert.py's graphs, with the race's settings."""
    import openvino

    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    if group is not None:
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = group
    compiled = openvino.Core().compile_model(path, "CPU", settings)
    request = compiled.create_infer_request()

    def forward(*arrays: Any) -> Vectors:
        return np.array(request.infer(list(arrays))[0], np.float32)

    if tower == "text":
        return worker.batched(forward)
    return of_images(forward, compiled.input(0).get_partial_shape()[-1].get_length())


KINDS: Mapping[str, Opener] = {
    f"{tower} {name}": partial(function, tower=tower, **settings)
    for tower in ("image", "text")
    for name, function, settings in (
        ("embedge int8", open_embedge, {"precision": "int8"}),
        ("embedge fp32", open_embedge, {"precision": "fp32"}),
        ("OpenVINO int8 f32", open_openvino, {"precision": "f32", "group": 128}),
        ("OpenVINO int8 bf16", open_openvino, {"precision": "bf16", "group": 128}),
        ("OpenVINO bf16", open_openvino, {"precision": "bf16", "group": None}),
        ("torch fp32", open_torch, {"dtype": "float32"}),
        ("torch bf16", open_torch, {"dtype": "bfloat16"}),
        ("torch fp16", open_torch, {"dtype": "float16"}),
        ("embedge fp16", open_embedge, {"precision": "fp16"}),
        ("embedge fp16 cuda", open_embedge, {"precision": "fp16", "device": "cuda"}),
        ("torch fp32 cuda", open_torch, {"dtype": "float32", "device": "cuda"}),
        ("torch bf16 cuda", open_torch, {"dtype": "bfloat16", "device": "cuda"}),
        ("torch fp16 cuda", open_torch, {"dtype": "float16", "device": "cuda"}),
    )
}


if __name__ == "__main__":
    worker.main(KINDS)
