"""The user's pack folder: packs that are found by name.

Takes names; gives folders. It stands in EMBEDGE_HOME, else where the platform keeps a user's data,
and holds one folder for each pack. Reads manifests, and never touches the network.
"""

import difflib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedge.errors import ManifestError, OptionError, PackError
from embedge.files.caches import absolute_or_none, home_folder
from embedge.known_models import KNOWN_MODELS, find_known_model
from embedge.pack.checks import safe_name
from embedge.pack.manifest import MANIFEST, Manifest
from embedge.pack.reading import read_manifest

HOME_VARIABLE = "EMBEDGE_HOME"
_PACKS = "packs"


@dataclass(frozen=True, slots=True)
class ShelvedPack:
    """A pack in the user's pack folder.

    Attributes:
        folder: absolute; its name is the pack's.
        manifest: None if it cannot be read.
    """

    folder: Path
    manifest: Manifest | None


def packs_folder(
    environment: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> Path | None:
    r"""Where the user's packs stand: `packs` in EMBEDGE_HOME, else in the folder of user data.

    That is `$XDG_DATA_HOME/embedge` or `~/.local/share/embedge` on Linux,
    `~/Library/Application Support/embedge` on macOS, `%LOCALAPPDATA%\embedge` on Windows. It may
    not exist.

    Returns:
        None if there is no home folder.

    Raises:
        OptionError: EMBEDGE_HOME is set and is no absolute path.
    """
    if own := environment.get(HOME_VARIABLE):
        if (named := absolute_or_none(own)) is None:
            raise OptionError(f"{HOME_VARIABLE} is {own!r}; give an absolute path, or unset it")
        return named / _PACKS
    if (named := absolute_or_none(environment.get("XDG_DATA_HOME"))) is not None:
        return named / "embedge" / _PACKS
    if platform == "win32":
        local = absolute_or_none(environment.get("LOCALAPPDATA"))
        return None if local is None else local / "embedge" / _PACKS
    home = home_folder(environment, platform)
    if home is None:
        return None
    data = "Library/Application Support" if platform == "darwin" else ".local/share"
    return home / data / "embedge" / _PACKS


def place_of(name: str) -> Path:
    """Where a pack of that name belongs.

    Raises:
        OptionError: it is not the name of a folder, or there is no pack folder.
    """
    if not safe_name(name) or name.startswith("."):
        raise OptionError(f"{name!r} cannot be a pack's name; take letters, digits, '-' and '_'")
    folder = packs_folder()
    if folder is None:
        raise OptionError(
            f"there is no home folder for packs; set {HOME_VARIABLE} to a folder, or name a path"
        )
    return folder / name


def shelved_packs() -> tuple[ShelvedPack, ...]:
    """All packs in the user's pack folder, by name."""
    folder = packs_folder()
    try:
        places = [] if folder is None else sorted(folder.iterdir())
    except OSError:
        return ()
    return tuple(_read(place) for place in places if (place / MANIFEST).exists())


def find_shelved(name: str) -> Path | None:
    """The folder of a pack in the pack folder; None if there is none.

    A pack is found by its folder's name, by its model's hub id, and by that without its owner.

    Raises:
        PackError: several packs are of a model of that name.
    """
    packs = shelved_packs()
    for pack in packs:
        if pack.folder.name == name:
            return pack.folder
    wanted = name.casefold()
    found = [pack.folder for pack in packs if wanted in _names(pack)]
    if len(found) > 1:
        raise PackError(
            f"several packs are of {name!r}: {', '.join(folder.name for folder in found)}; name one"
        )
    return found[0] if found else None


def advice(name: str) -> str:
    """How to make a pack that is not there, or what may have been meant."""
    names = [pack.folder.name for pack in shelved_packs()]
    if known := find_known_model(name):
        return (
            f"`{known.command}` makes it ({known.parameters:g} million parameters, "
            f"{known.languages}, license {known.license})"
        )
    known_names = [known.name for known in KNOWN_MODELS]
    if near := difflib.get_close_matches(name.rpartition("/")[2], [*names, *known_names], 1):
        return f"did you mean {near[0]!r}? `embedge list` shows what there is"
    if "/" in name:
        return f"if it is a model of the Hugging Face hub, `embedge export {name}` makes its pack"
    return "`embedge list` shows the packs that are there, `embedge list --models` what can be made"


def _read(folder: Path) -> ShelvedPack:
    try:
        return ShelvedPack(folder, read_manifest(folder))
    except (ManifestError, OptionError):
        return ShelvedPack(folder, None)


def _names(pack: ShelvedPack) -> set[str]:
    """What a pack is called beside its folder's name."""
    if pack.manifest is None:
        return set()
    model_id = pack.manifest.model_id.casefold()
    return {model_id, model_id.rpartition("/")[2]}
