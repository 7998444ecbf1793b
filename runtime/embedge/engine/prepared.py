"""Weights in the form that this machine's kernels take, kept in files that are mapped.

ONNX Runtime rearranges weights for a CPU's kernels when it loads a graph, into memory of each
process: as much as the linears weigh. Here it does so once, into a folder; each process that loads
from there maps the files, so that processes and tasks share the pages and a restart costs next to
nothing. A prepared graph fits one graph, one ONNX Runtime and one kind of CPU; the folder's names
say which, and all of it can be deleted at any time (deleted or replaced, never rewritten: see the
docstring of `Embedder`). Takes a graph file and what identifies it, gives another graph file. Knows
no packs.
"""

import hashlib
import platform
import shutil
import sys
from pathlib import Path

from embedge.engine import loading, prepared_folder
from embedge.engine.native_work import native_work
from embedge.engine.session_options import session_options
from embedge.errors import OptionError, PackFileError
from embedge.files.caches import NotPrivateError, check_private
from embedge.files.paths import is_text

GRAPH, DATA = "graph.onnx", "graph.data"
_SMALLEST = 1024  # bytes; smaller constants stay in the graph file
_CPU_FACTS = ("model name", "flags", "Features", "CPU part")  # of /proc/cpuinfo, x86 and arm64


def prepared_graph(graph: Path, identity: str, folder: Path, *, threads: int) -> Path:
    """The prepared form of a graph; written now if the folder has none.

    Args:
        graph: an .onnx file whose files were checked.
        identity: changes when the graph or its data do, e.g. their hashes.
        folder: where prepared graphs are kept; made if need be.
        threads: of the load that prepares.

    Raises:
        OptionError: the folder cannot be written, or others may write to it, or this system does
            not say what its CPU is.
        PackFileError: the graph cannot be loaded.
    """
    if not is_text(folder):
        raise OptionError(
            f"prepared= is {str(folder)!r}, whose name is not UTF-8, and ONNX Runtime opens no "
            "file there; name another folder"
        )
    key = hashlib.sha256("\n".join((identity, *_machine())).encode()).hexdigest()[:24]
    try:
        if folder.exists():
            check_private(folder, folder.stat())
        place = prepared_folder.find(folder, key, GRAPH) or prepared_folder.make(
            folder, key, GRAPH, lambda part: _prepare(graph, part, threads=threads)
        )
    except NotPrivateError as error:
        raise OptionError(
            f"prepared= is {str(folder)!r}, and {error.strerror}, who could change what is loaded "
            "from there; name another folder (one inside it will do), or take the others' "
            "permission to write away (chmod go-w)"
        ) from None
    except OSError as error:
        raise _unusable(folder, error) from error
    return place / GRAPH


def _unusable(folder: Path, error: OSError) -> OptionError:
    return OptionError(
        f"prepared= is {str(folder)!r}, and nothing can be kept there "
        f"({error.strerror or error}); free space, name another folder, or leave it out"
    )


def _prepare(graph: Path, folder: Path, *, threads: int) -> None:
    runtime = loading.load_runtime()
    options = session_options(threads)
    options.optimized_model_filepath = str(folder / GRAPH)
    for name, value in (
        ("optimized_model_external_initializers_file_name", DATA),
        ("optimized_model_external_initializers_min_size_in_bytes", str(_SMALLEST)),
        ("save_external_prepacked_constant_initializers", "1"),
    ):
        options.add_session_config_entry(f"session.{name}", value)
    try:
        with native_work():
            runtime.InferenceSession(str(graph), options, providers=[loading.CPU])
    except Exception as error:  # ONNX Runtime's errors have no common base
        if shutil.disk_usage(folder).free < graph.stat().st_size:
            raise OSError(f"the disk is full: {error}") from error
        raise PackFileError(
            f"{graph} cannot be prepared by ONNX Runtime {runtime.__version__}: {error}; "
            "leave prepared= out, or see what `embedge verify` says"
        ) from error


def _machine() -> list[str]:
    """What decides the form of the weights: ONNX Runtime and the CPU."""
    facts = [loading.load_runtime().__version__, sys.platform, platform.machine()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        raise OptionError(
            "prepared= needs to know the CPU's kind, which only Linux reports; leave it out"
        ) from None
    found = (line.partition(":") for line in lines)
    facts += sorted(
        {f"{name.strip()}={value}" for name, _, value in found if name.strip() in _CPU_FACTS}
    )
    return facts
