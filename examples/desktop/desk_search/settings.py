"""What the program keeps from one start to the next, as JSON in the user's own folder.

Written beside, then renamed, so that a crash leaves the old file or the new one.
"""

import contextlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

THEMES = ("system", "light", "dark")
NAME = "desk-search"


@dataclass(frozen=True)
class Settings:
    """The folders that are watched, the pack's folder (None: the bundled one), and the colors."""

    folders: tuple[str, ...] = ()
    pack: str | None = None
    theme: str = "system"


def data_folder() -> Path:
    """Where this system keeps what a program stores for a user."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / NAME


def load(folder: Path) -> Settings:
    """The settings in a folder; the first ones where there are none, or none that can be read."""
    try:
        found = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Settings()
    return _checked(found)


def save(folder: Path, settings: Settings) -> None:
    """Keeps the settings, where the folder can be written; else they are those of last time."""
    path = folder / "settings.json"
    part = path.with_suffix(".part")
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.write_text(json.dumps(asdict(settings), indent=2), encoding="utf-8")
        part.replace(path)


def _checked(found: Any) -> Settings:
    """What of a file is of the right kind."""
    values = found if isinstance(found, dict) else {}
    folders, pack, theme = values.get("folders"), values.get("pack"), values.get("theme")
    return Settings(
        folders=tuple(name for name in folders if isinstance(name, str))
        if isinstance(folders, list)
        else (),
        pack=pack if isinstance(pack, str) else None,
        theme=theme if theme in THEMES else "system",
    )
