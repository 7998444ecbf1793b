"""Which files of a folder are images, by what they are called. Imports nothing heavy."""

from pathlib import Path

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".jpeg", ".jpg"}
    | {".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


def is_image_name(path: Path) -> bool:
    """Whether a file is called as images are that `embedge.images` reads."""
    return path.suffix.lower() in SUFFIXES
