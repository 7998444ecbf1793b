"""CUDA graphs: runs of one text of a fixed length, captured once and launched as a whole.

On a GPU a run of one short text spends most of its time launching its operators, one by one. A
captured run is launched at once, from fixed memory: ids and mask are copied in, the vector out.

ONNX Runtime keeps what it captured for the thread that did, so a session of captured runs has a
thread of its own. It has its own copy of the weights too: its pool never shrinks, for captured runs
point into it. While a run is captured, no thread of the process may take memory of the GPU, so
captures and all other work of ours on the GPU exclude each other. Knows no text and no plan.
Sources: NVIDIA's CUDA programming guide, "CUDA Graphs"; ONNX Runtime's CUDA execution provider.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.engine.loading import LOG_FATAL, load_runtime
from embedge.engine.native_work import native_work
from embedge.errors import DeviceError
from embedge.pack.contract import INPUTS, OUTPUT

# Padded lengths of one text for which a run is worth capturing: beyond, the GPU has enough to do.
LENGTHS = (32, 64, 128)

Ids = NDArray[np.int64]


class _Exclusion:
    """Many at work together, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._together = 0
        self._alone = False

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Around work that others may do meanwhile; waits for one who is alone."""
        with self._changed:
            while self._alone:
                self._changed.wait()
            self._together += 1
        try:
            yield
        finally:
            with self._changed:
                self._together -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Around work that nobody may do anything beside; waits for all others."""
        with self._changed:
            while self._alone:
                self._changed.wait()
            self._alone = True  # nobody begins from now on
            while self._together:
                self._changed.wait()
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()


ON_GPU = _Exclusion()  # all work of this process on the GPU that goes through ONNX Runtime


@dataclass(frozen=True, slots=True)
class _Captured:
    """A captured run: where its inputs and its vector stand on the GPU, and how it is asked for."""

    ids: Any
    mask: Any
    vector: Any
    binding: Any
    options: Any


class CudaGraphs:
    """Captured runs of one text, by its padded length. Safe between threads.

    Args:
        open_session: opens a graph of texts so that its runs can be captured; called once.
    """

    def __init__(self, open_session: Callable[[], Any]) -> None:
        self._open_session = open_session
        self._session: Any = None
        self._captured: dict[int, _Captured] = {}
        self._process = os.getpid()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedge-cuda-graphs")

    def capture(self, length: int) -> None:
        """Captures the run of one text padded to `length` tokens, once; opens the graph first.

        Raises:
            DeviceError: it can't be captured, and why.
        """
        try:
            self._thread.submit(self._capture, length).result()
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise DeviceError(f"no CUDA graph of it: {error}") from error

    def run(self, ids: Ids, mask: Ids) -> NDArray[np.float32] | None:
        """The vector of one text, (1, D), by its captured run; None where there is none.

        Args:
            ids: (1, S), padded to a captured length on the right.
            mask: (1, S), 0 where padding is.
        """
        captured = self._captured.get(ids.shape[1])
        if captured is None or os.getpid() != self._process:  # a forked child has no such thread
            return None
        return self._thread.submit(self._replay, captured, ids, mask).result()

    def close(self) -> None:
        """Lets go of the captured runs and their memory."""
        if os.getpid() == self._process:
            self._thread.shutdown()
        self._captured.clear()
        self._session = None

    def _capture(self, length: int) -> None:
        runtime = load_runtime()
        if self._session is None:
            with ON_GPU.together(), native_work():
                self._session = self._open_session()
        width = int(self._session.get_outputs()[0].shape[-1])
        value = runtime.OrtValue
        with ON_GPU.together():
            ids = value.ortvalue_from_numpy(np.zeros((1, length), np.int64), "cuda", 0)
            mask = value.ortvalue_from_numpy(np.ones((1, length), np.int64), "cuda", 0)
            vector = value.ortvalue_from_shape_and_type((1, width), np.float32, "cuda", 0)
        binding = self._session.io_binding()
        for name, given in zip(INPUTS, (ids, mask), strict=True):
            binding.bind_ortvalue_input(name, given)
        binding.bind_ortvalue_output(OUTPUT, vector)
        options = runtime.RunOptions()
        options.log_severity_level = LOG_FATAL
        options.add_run_config_entry("gpu_graph_id", str(length))
        with ON_GPU.alone(), native_work(options):
            # Runs until it is captured: once or twice for the memory, then to record.
            self._session.run_with_iobinding(binding, options)
        self._captured[length] = _Captured(ids, mask, vector, binding, options)

    def _replay(self, captured: _Captured, ids: Ids, mask: Ids) -> NDArray[np.float32]:
        with ON_GPU.together(), native_work(captured.options):
            captured.ids.update_inplace(np.ascontiguousarray(ids))
            captured.mask.update_inplace(np.ascontiguousarray(mask))
            self._session.run_with_iobinding(captured.binding, captured.options)
            return np.array(captured.vector.numpy(), np.float32)
