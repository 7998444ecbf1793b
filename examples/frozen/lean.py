"""What the settings of frozen programs share: modules, libraries and symbols that stay out.

The .spec files beside this are run by PyInstaller, which puts their folder into SPECPATH.
"""

import os
import subprocess
import sys
from pathlib import Path, PurePath
from typing import Any

from PyInstaller.building.api import COLLECT, EXE, PYZ
from PyInstaller.building.build_main import Analysis
from PyInstaller.depend.bindepend import get_imports

ONE_FILE = os.environ.get("ONE_FILE") == "1"
Entries = list[tuple[str, str, str]]  # name in the program, file here, kind

# Imported by ONNX Runtime's tools, by tokenizers' downloads, or by nothing at all on the way from a
# text to a vector. `embedge pull` and `serve` need some of them: take those names out.
UNUSED = [
    *("sympy", "mpmath", "google", "flatbuffers", "onnx", "torch", "coloredlogs", "humanfriendly"),
    *("onnxruntime.tools", "onnxruntime.transformers", "onnxruntime.quantization"),
    *("huggingface_hub", "hf_xet", "httpx2", "httpcore2", "h11", "anyio", "yaml", "tqdm", "fsspec"),
    *("filelock", "click", "truststore", "requests", "packaging"),
    *("pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel", "pytest"),
    *("numpy.f2py", "numpy.testing", "numpy.random", "numpy.distutils", "numpy.tests"),
    *("numpy._core._multiarray_tests", "numpy._core._simd", "numpy.linalg.lapack_lite"),
    *("tkinter", "unittest", "pydoc", "doctest", "pdb", "lib2to3", "readline", "curses", "idlelib"),
    *("ssl", "_ssl", "_hashlib", "embedge_export"),
]
# ONNX Runtime's own library for C programs; Python's module holds all of it once more.
UNUSED_FILES = ("libonnxruntime.",)
_CODE = ("BINARY", "EXTENSION")


def build(analysis: Analysis, name: str, work: str, *, console: bool = True) -> None:
    """Makes the program, as a folder or as one file.

    Args:
        analysis: what PyInstaller found.
        name: of the program and its folder.
        work: a folder for copies (PyInstaller's `workpath`).
        console: whether Windows opens a console for it.
    """
    binaries = without(analysis.binaries, UNUSED_FILES)
    if sys.platform.startswith("linux"):
        binaries = stripped(needed(binaries), Path(work, "stripped"))
    code = PYZ(analysis.pure)
    options: dict[str, Any] = {"name": name, "console": console, "upx": False}
    options["codesign_identity"] = os.environ.get("CODESIGN_IDENTITY")  # on macOS
    if ONE_FILE:
        EXE(code, analysis.scripts, binaries, analysis.datas, **options)
    else:
        program = EXE(code, analysis.scripts, exclude_binaries=True, **options)
        COLLECT(program, binaries, analysis.datas, name=name, upx=False)


def without(entries: Entries, starts: tuple[str, ...]) -> Entries:
    """The entries whose file names, and paths in the program, begin with none of these."""
    return [
        entry
        for entry in entries
        if not PurePath(entry[0]).as_posix().startswith(starts)
        and not PurePath(entry[0]).name.startswith(starts)
    ]


def needed(entries: Entries) -> Entries:
    """The entries without libraries that only files that were taken out had asked for.

    Of these are the system's, which lie beside the program, and those that wheels keep in
    NAME.libs. Whatever else is there may be opened by name, as plugins are.
    """
    libraries = {
        PurePath(name).name: path
        for name, path, kind in entries
        if kind == "BINARY" and ("/" not in name or ".libs/" in name)
    }
    files = set(libraries.values())
    waiting = [path for _, path, kind in entries if kind in _CODE and path not in files]
    kept = {path for name, path in libraries.items() if name.startswith("libpython")}
    waiting.extend(kept)
    while waiting:
        for _, found in get_imports(waiting.pop()):
            library = libraries.get(PurePath(found or "").name)
            if library and library not in kept:
                kept.add(library)
                waiting.append(library)
    return [entry for entry in entries if entry[1] in kept or entry[1] not in files]


def stripped(entries: Entries, work: Path) -> Entries:
    """The binaries without symbols, but those of wheels that bring further libraries in NAME.libs.

    The tool that put those in moved their pages, which no longer line up after `strip`.
    """
    moved = {name.partition(".libs/")[0] for name, _, _ in entries if ".libs/" in name}
    found = []
    for name, path, kind in entries:
        file = path
        if kind in _CODE and name.partition("/")[0].partition(".libs")[0] not in moved:
            file = str(work / name)
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["strip", "--strip-unneeded", "-o", file, path], check=True)
        found.append((name, file, kind))
    return found
