"""Networks put in the place of a pack's own, so that the whole Embedder measures them.

`embedge.sessions.open_session` is the one seam for that. `padded` runs the pack's graph with more
padding than any plan gives it; `plain_int8` runs what others' int8 is: ONNX Runtime's dynamic
quantization of the pack's fp32 graph, with its default settings.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from embedge import sessions
from embedge.engine.loading import load_runtime
from embedge.pack.contract import INPUTS, OUTPUT

SEAM = "embedge.sessions.open_session"


class _Wider:
    """A session whose every run has `columns` more columns of padding."""

    def __init__(self, session: Any, columns: int) -> None:
        self._session, self._columns = session, columns

    def run(self, ids: NDArray[Any], mask: NDArray[Any], **options: Any) -> NDArray[np.float32]:
        more = ((0, 0), (0, self._columns))
        # An id that is a token elsewhere: what stands under a mask of 0 must not matter.
        result: NDArray[np.float32] = self._session.run(
            np.pad(ids, more, constant_values=int(ids[0, 0])), np.pad(mask, more), **options
        )
        return result

    def free(self) -> None:
        self._session.free()


class _Plain:
    """A graph in ONNX Runtime as it comes: no option of embedge's."""

    def __init__(self, graph: Path, threads: int) -> None:
        runtime = load_runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = runtime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )

    def run(self, ids: NDArray[Any], mask: NDArray[Any], **_: Any) -> NDArray[np.float32]:
        (vectors,) = self._session.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))
        return np.asarray(vectors)

    def free(self) -> None:
        """Its pool stays: it is a graph as it comes."""


@contextlib.contextmanager
def padded(columns: int) -> Iterator[None]:
    """Within it, embedders that open a network pad every run by so many more columns."""
    real: Callable[..., Any] = sessions.open_session
    with mock.patch(SEAM, lambda *given, **named: _Wider(real(*given, **named), columns)):
        yield


@contextlib.contextmanager
def plain_int8(graph: Path, folder: Path) -> Iterator[None]:
    """Within it, embedders run the plain dynamic int8 form of this fp32 graph.

    Args:
        graph: fp32, of the pack's one task that is asked for.
        folder: where to write the quantized graph.
    """
    load_runtime()  # imports ONNX Runtime so that it sends no usage reports
    from onnxruntime.quantization import quantize_dynamic

    path = folder / "plain.onnx"
    logging.disable(logging.WARNING)  # it advises a preparation that these graphs do not need
    try:
        quantize_dynamic(graph, path)
    finally:
        logging.disable(logging.NOTSET)
    with mock.patch(SEAM, lambda *_, threads, **__: _Plain(path, threads)):
        yield
