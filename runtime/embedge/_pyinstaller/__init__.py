"""Tells PyInstaller where the hook is that takes embedge and its pack into a frozen program.

PyInstaller asks by the entry point `pyinstaller40`; nothing else imports this.
"""

from pathlib import Path


def hook_folders() -> list[str]:
    """The folder of `hook-embedge.py`."""
    return [str(Path(__file__).parent)]
