"""What stands where a user names a source, and what may have been meant if it is not a model.

Takes the text; gives the folder, or a sentence that says what stands there and what to name
instead. Looks at names on this machine only, and never at a network.
"""

import re
from collections.abc import Callable
from pathlib import Path

from embedge.files.paths import absolute_path
from embedge.pack.manifest import MANIFEST
from embedge_export.source.files import CONFIG

_WHOLE = f"name the folder that holds {CONFIG}, tokenizer.json and the weights (*.safetensors)"
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".zst", ".7z")
_URL = re.compile(r"https?://[^/]+/([\w.-]+/[\w.-]+?)(?:\.git)?(?:/.*)?", re.ASCII)


def local_folder(spec: str | Path) -> Path | None:
    """The folder on this machine that a source names; `~` is the home folder. None: it names none.

    Raises:
        OptionError: a home folder is unknown.
    """
    text = str(spec)
    if not text.strip():  # an unset variable is not the current folder
        return None
    path = absolute_path(text, "the source") if text.startswith("~") else Path(spec)
    return path if _is(Path.is_dir, path) else None


def is_local(spec: str) -> bool:
    """Whether anything of this name is here."""
    return _is(Path.exists, Path(spec))


def is_text(path: Path) -> bool:
    """Whether a path can be written as UTF-8; on Linux a name may be any bytes."""
    try:
        str(path.absolute()).encode()
    except UnicodeError:
        return False
    return True


def _is(question: Callable[[Path], bool], path: Path) -> bool:
    try:
        return question(path)
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def not_a_model(spec: str) -> str:
    """Of a text that is neither a folder nor of a hub id's form."""
    if not spec.strip():
        return f"the source is empty (a variable that is not set?); {_WHOLE}, or a hub id"
    if match := _URL.fullmatch(spec):
        return f"{spec!r} is an address; name the model itself: {match[1]}"
    path = Path(spec)
    if not is_local(spec):
        return (
            f"there is no folder {spec!r}, and a model on the hub is named owner/name; check the "
            "spelling"
        )
    if path.suffix in _PICKLES:
        return (
            f"{spec!r} is a file, and of a kind that can run code, so it is not read. Load the "
            "model with transformers, save it with save_pretrained(FOLDER), and name that folder"
        )
    if path.suffix in _ARCHIVES:
        return f"{spec!r} is an archive; unpack it, then {_WHOLE}"
    if path.suffix in (".gguf", ".onnx"):
        return (
            f"{spec!r} is a model that was converted already; {_WHOLE} of the model that it was "
            "made from"
        )
    return f"{spec!r} is not a folder; {_WHOLE}"


def not_a_model_folder(folder: Path) -> str:
    """Of a folder without a configuration."""
    if (folder / MANIFEST).is_file():
        return f"{folder} holds a {MANIFEST} as packs do, and no {CONFIG}; {_WHOLE}"
    below = sorted([*folder.glob(f"*/{CONFIG}"), *folder.glob(f"snapshots/*/{CONFIG}")])
    found = [path.parent for path in below if not path.parent.name.startswith(".")]
    if found:
        more = f" (or one of {len(found) - 1} more)" if len(found) > 1 else ""
        return f"{folder} has no {CONFIG}, and {found[0]}{more} has; name that folder"
    return f"{folder} has no {CONFIG}: it is not a model folder, or not a whole one; {_WHOLE}"
