"""CUDA: NVIDIA's GPUs, by the distribution onnxruntime-gpu.

It counts as available only after a session was opened on it.
"""

import contextlib
import functools
import io
import os
from pathlib import Path
from typing import Any

from embedge.choice import Choice
from embedge.engine import kernels, loading
from embedge.engine.native_work import native_work
from embedge.engine.providers.cuda_graphs import LENGTHS, ON_GPU, CudaGraphs
from embedge.engine.providers.provider import CapturedRuns, Provider
from embedge.engine.session_options import session_options
from embedge.machine.gpu_memory import read_gpu_memory
from embedge.pack.manifest import Manifest
from embedge.run_cost import GpuShares, RunCost, choose_gpu_limit, gpu_run_cost

NAME = "CUDAExecutionProvider"
OPTIONS = {
    # The pool grows by what is asked for, not by powers of two: its peak is the peak.
    "arena_extend_strategy": "kSameAsRequested",
    # By default every new shape of a convolution is tried with all algorithms, whatever memory they
    # take. Only networks from transformers have any.
    "cudnn_conv_algo_search": "HEURISTIC",
    "cudnn_conv_use_max_workspace": "0",
}
# Measured of a decoder and an encoder on an H200 with ONNX Runtime 1.31, 512 to 32,768 tokens:
# v5-text-small took 188.4 kB a token, of which the keys and values that every layer's attention
# hands out are 115, v5-text-nano 33.8 kB. Of an image tower by the buffers of its graph alone.
SHARES = GpuShares(decoder=0.97, encoder=0.37, image=0.92)


class Cuda(Provider):
    """ONNX Runtime's CUDA provider, on the GPU that CUDA counts as 0."""

    device = "cuda"
    title = "CUDA"
    hardware = "the GPU"
    execution_provider = NAME
    pool = "gpu:0"
    precisions = ("fp16", "fp32")
    automatic = "fp16"
    accelerator = True
    forks = False
    failure_signs = ("CUDA", "CUDNN", "cudnn", "CUBLAS", "cublas")
    # On an H200 v5-text-small does 279,000 tokens a second in runs of 8,192, 309,000 in runs of
    # 32,768; v5-text-nano as many in either. Memory grows with them.
    full_run = Choice(16384, "a GPU needs many tokens at once to be busy")
    images_per_run = 32
    image_decoders = 8  # an image takes milliseconds, a large photo a tenth of a second to decode
    gpus = 1
    captured_lengths = LENGTHS

    def problem(self) -> str | None:
        """See `cuda_problem`."""
        return cuda_problem()

    def place(self, options: Any, *, memory: int | None) -> list[Any] | None:
        """See `Provider.place`."""
        return _place(options, memory=memory)

    def run_cost(self, manifest: Manifest, *, precision: str) -> RunCost:
        """What the GPU's pool takes for runs."""
        return gpu_run_cost(manifest, precision=precision, shares=SHARES)

    def memory_limit(
        self, argument: float | str | None, *, weights: int, full_run: float
    ) -> Choice[int | None]:
        """By what the driver says is free."""
        return choose_gpu_limit(
            argument,
            environment=os.environ,
            memory=read_gpu_memory(),
            weights=weights,
            full_run=full_run,
        )

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        """Keeps away from captures, beside which nothing may take memory of the GPU."""
        return ON_GPU.together()

    def captured(self, graph: Path, *, threads: int, memory: int | None) -> CapturedRuns:
        """See `Provider.captured`."""
        options = functools.partial(session_options, threads)
        return CudaGraphs(lambda: _Capturing().open(graph, options(), memory=memory))


class _Capturing(Cuda):
    """The same, for sessions whose runs are captured."""

    def place(self, options: Any, *, memory: int | None) -> list[Any] | None:
        return _place(options, memory=memory, enable_cuda_graph="1")


def _place(options: Any, *, memory: int | None, **added: str) -> list[Any]:
    # Weights beside the pool, each in as much memory as it has: none of it is cut up.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    limit = {} if memory is None else {"gpu_mem_limit": str(memory)}
    return [(NAME, OPTIONS | limit | added), loading.CPU]


@functools.cache
def cuda_problem() -> str | None:
    """Why CUDA is unavailable here, and what to do; None if it works."""
    runtime = loading.load_runtime()
    installed = loading.installed_distributions()
    if NAME not in runtime.get_available_providers():
        if len(installed) > 1:
            return (
                f"{' and '.join(installed)} are both installed and overwrite each other; "
                f"`pip uninstall {' '.join(installed)}`, then install one: "
                '`pip install "embedge[gpu]"`'
            )
        name = installed[0] if installed else "onnxruntime"
        return (
            f"the installed {name} {runtime.__version__} has no CUDA provider; "
            f'`pip uninstall {name}`, then `pip install "embedge[gpu]"`'
        )
    printed = io.StringIO()
    if hasattr(runtime, "preload_dlls"):
        # It prints what it does not find; the standard streams belong to the caller.
        with contextlib.redirect_stdout(printed):
            runtime.preload_dlls()
    try:
        with native_work():
            session = runtime.InferenceSession(
                kernels.PROBE, providers=[(NAME, OPTIONS), loading.CPU]
            )
        loaded = NAME in session.get_providers()
    except Exception as error:  # some versions raise where others fall back
        return f"the CUDA provider of ONNX Runtime {runtime.__version__} does not load: {error}"
    if not loaded:
        return (
            f"the CUDA provider of ONNX Runtime {runtime.__version__} does not load; it needs an "
            "NVIDIA driver and the CUDA and cuDNN libraries of its version: "
            '`pip install "onnxruntime-gpu[cuda,cudnn]"`'
            + (f" (it says: {' '.join(printed.getvalue().split())})" if printed.getvalue() else "")
        )
    return None
