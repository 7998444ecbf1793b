"""Keeps libtiff from writing to stderr: hundreds of lines for one damaged file.

It is the one library below Pillow that does so, and Pillow's error, which is a sentence, stays.
For the command line alone: in a host program this is the host's to decide.
"""

from typing import Any


def quiet_libtiff() -> None:
    """Takes its messages away. Where Pillow was built in another way, they stay."""
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
