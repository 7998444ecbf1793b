"""What stands in a frozen program: its modules, files and bytes."""

import subprocess
import sys
from pathlib import Path

# Top-level names that a program for users has no use for.
FORBIDDEN = {
    *("torch", "transformers", "onnx", "onnx_ir", "embedge_export", "pyarrow", "sympy", "mpmath"),
    *("google", "flatbuffers", "huggingface_hub", "requests", "httpx2", "yaml", "tqdm"),
    *("pip", "setuptools", "pkg_resources", "pytest", "_pytest", "hypothesis", "tests"),
    *("PyInstaller", "tkinter", "unittest", "pydoc", "doctest", "matplotlib", "pandas", "scipy"),
}


def modules(program: Path, environment: Path) -> set[str]:
    """The names of all modules in a program, read by the PyInstaller of an environment."""
    suffix = ".exe" if sys.platform == "win32" else ""
    (viewer,) = environment.glob(f"*/pyi-archive_viewer{suffix}")
    command: list[str | Path] = [viewer, "--list", "--recursive", "--brief", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def files(folder: Path) -> set[Path]:
    """The files of a program's folder, from where its modules are."""
    inner = folder / "_internal"
    return {path.relative_to(inner) for path in inner.rglob("*") if path.is_file()}


def tops(modules: set[str], files: set[Path]) -> set[str]:
    """The top-level names of both."""
    return {name.partition(".")[0] for name in modules} | {path.parts[0] for path in files}


def size(folder: Path) -> int:
    """The bytes of a program's folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if not path.is_symlink())
