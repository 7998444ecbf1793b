"""Which integer kernel gives exact sums on this CPU: a probe for CPUs whose int8 kernel saturates.

Runs one small graph, and gives a `Choice`. Sessions are opened accordingly, and int8 is refused
where no kernel is exact.
"""

import base64
import functools
import zlib

import numpy as np

from embedge.choice import Choice
from embedge.engine.loading import CPU, LOG_FATAL, load_runtime
from embedge.engine.native_work import native_work
from embedge.errors import DeviceError, MemoryLimitError
from embedge.failures import lacks_memory

EXACT = "uint8 x int8"
EXACT_BY_OPTION = "uint8 x uint8"
INEXACT = "inexact"
# A graph y = MatMulInteger(a, w, 0, 0): a uint8 (m, 64) given, w int8 (64, 16), every weight 127.
# With every a = 255 each pair of products is 64,770, which a kernel that adds pairs in 16 bits cuts
# off at 32,767. test_engine.py rebuilds it. Both zero points are there because ONNX Runtime
# 1.23 aborts the process when it converts such a node without them (session.x64quantprecision).
PROBE = zlib.decompress(
    base64.b64decode(
        "eNrj4LDq4uTS4GJM5GIs52JLjK9KLcrnYisH00KMlUq8voklvqU5nnklqempRUKsBUX5SalaPRwcDhwCAsxOjOVe"
        "DRz1o2AUjIIRC7R4BZicoGWHFyMDkMvsBC1CgNwoEWDpIsTPxcvBJMTJxSzEmMvFxOGQBBStBIuyIUQFnFi4GAR4"
        "AR8HGXc="
    )
)
PROBE_WIDTH = 64
PROBE_ANSWER = PROBE_WIDTH * 255 * 127


@functools.cache
def integer_kernel() -> Choice[str]:
    """Which integer kernel gives exact sums on this CPU, found by trying it once a process.

    x86 CPUs without VNNI add pairs of uint8 x int8 products in 16 bits, and ONNX Runtime lets them
    saturate. Its option `session.x64quantprecision` takes uint8 x uint8 there, which is exact and
    somewhat slower. Sessions are opened accordingly.

    Raises:
        MemoryLimitError: there is no memory to try it.
        DeviceError: ONNX Runtime fails at it.
    """
    if _probe(exact_option=False):
        return Choice(EXACT, "this CPU's uint8 x int8 kernel gives exact sums")
    if _probe(exact_option=True):
        return Choice(
            EXACT_BY_OPTION,
            "this CPU's uint8 x int8 kernel saturates (x86 without VNNI); the exact one is used",
        )
    return Choice(INEXACT, "no integer kernel of this ONNX Runtime gives exact sums here; use fp32")


def _probe(*, exact_option: bool) -> bool:
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    if exact_option:
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = LOG_FATAL  # what fails is raised; stderr is the host's
    # One row and several rows may take different kernels.
    batches = [np.full((rows, PROBE_WIDTH), 255, np.uint8) for rows in (1, 7)]
    try:
        with native_work():
            session = runtime.InferenceSession(PROBE, options, providers=[CPU])
            answers = [session.run(None, {"a": batch})[0] for batch in batches]
    except Exception as error:
        if lacks_memory(error):
            raise MemoryLimitError(
                f"there is not enough memory even to try ONNX Runtime ({error}); close other "
                "programs, or raise this process's limit"
            ) from error
        raise DeviceError(
            f"ONNX Runtime {runtime.__version__} cannot run a small integer graph here: {error}; "
            'install onnxruntime again, or take precision "fp32"'
        ) from error
    return all(bool((answer == PROBE_ANSWER).all()) for answer in answers)
