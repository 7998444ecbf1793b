"""Where to run: the CPU, or CUDA if it really works.

Takes what the caller wants and what the pack holds, gives a `Choice`; a CUDA provider counts only
after a session was opened on it. Knows no graph but the probe of `kernels`.
"""

import contextlib
import functools
import io
from collections.abc import Sequence

from embedge.choice import Choice
from embedge.engine import kernels, loading
from embedge.engine.native_work import native_work
from embedge.errors import DeviceError
from embedge.options import check_one_of

DEVICES = ("auto", "cpu", "cuda")


def choose_device(wanted: str, *, precision: str, held: Sequence[str]) -> Choice[str]:
    """Where to run.

    Args:
        wanted: "auto", "cpu" or "cuda".
        precision: what the caller asked for, or "auto".
        held: the precisions of the pack.

    Raises:
        DeviceError: "cuda" was asked for and is unavailable.
    """
    check_one_of(wanted, "device", DEVICES)
    if wanted == "cpu":
        return Choice("cpu", "device= was given")
    if wanted == "cuda":
        if problem := cuda_problem():
            raise DeviceError(f'device="cuda" is unavailable: {problem}; or pass device="cpu"')
        return Choice("cuda", "device= was given, and the CUDA provider loads")
    if precision not in ("auto", "fp16"):
        return Choice("cpu", f"precision {precision} was asked for; a GPU is chosen for fp16")
    if "fp16" not in held:
        return Choice("cpu", "the pack has no fp16 graphs, and a GPU is chosen for those")
    if problem := cuda_problem():
        return Choice("cpu", problem)
    return Choice("cuda", "the pack has fp16 graphs, and the CUDA provider loads")


def precisions_here() -> tuple[str, ...]:
    """What this machine would run of a pack by itself: an export's default.

    int8, which a CPU runs; with fp16, which a GPU runs, where CUDA works.
    """
    return ("int8",) if cuda_problem() else ("fp16", "int8")


@functools.cache
def cuda_problem() -> str | None:
    """Why CUDA is unavailable here, and what to do; None if it works."""
    runtime = loading.load_runtime()
    installed = loading.installed_distributions()
    if loading.CUDA not in runtime.get_available_providers():
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
            session = runtime.InferenceSession(kernels.PROBE, providers=loading.PROVIDERS["cuda"])
        loaded = loading.CUDA in session.get_providers()
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
