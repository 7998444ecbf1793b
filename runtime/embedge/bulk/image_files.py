"""What the commands share about images: files and folders to paths, a few at a time.

Takes what the command line names, gives paths in order; a folder stands for the images below it,
by their suffix. Knows no model, and opens no image.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from embedge.errors import InputError
from embedge.images.names import is_image_name

Item = TypeVar("Item")

# Images embedded, and told of, at a time: what was done comes out while the rest is worked on.
CHUNK = 32


def image_paths(named: Sequence[str], *, refuse: Callable[[Path, str], None]) -> list[Path]:
    """The files named, whatever they are called, and the images below the folders named.

    Args:
        named: from the command line.
        refuse: called with a path and a reason for what a folder holds and cannot be read.

    Raises:
        InputError: a path does not exist, or a folder cannot be read.
    """
    from embedge.search.files import walk  # with NumPy: not while help is shown

    quiet_libtiff()
    paths: list[Path] = []
    for name in named:
        path = Path(name)
        if path.is_dir():
            found = [file.path for file in walk(path, refuse=refuse) if is_image_name(file.path)]
            if not found:
                raise InputError(f"{name} holds no images")
            paths += found
        elif path.exists():
            paths.append(path)
        else:
            raise InputError(f"{name} does not exist; give images, or folders of them")
    return paths


def quiet_libtiff() -> None:
    """Keeps libtiff from writing to stderr: hundreds of lines for one damaged file.

    It is the one library below Pillow that does so, and Pillow's error, which is a sentence, stays.
    For the command line alone: in a host program this is the host's to decide. Where Pillow was
    built in another way, the lines stay.
    """
    import ctypes  # with Pillow: not while help is shown

    try:
        from PIL import _imaging  # it links libtiff, so that its symbols are found through it

        handler: Any = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
        warner: Any = ctypes.CDLL(_imaging.__file__).TIFFSetWarningHandler
    except (ImportError, OSError, AttributeError):
        return
    for setter in (handler, warner):
        setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
        setter(None)


def chunked(items: Sequence[Item], size: int = CHUNK) -> Iterator[tuple[int, Sequence[Item]]]:
    """(index of the first, the items) of every chunk."""
    for start in range(0, len(items), size):
        yield start, items[start : start + size]
