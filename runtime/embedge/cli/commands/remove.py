"""`embedge remove`: takes a pack out of the user's pack folder."""

import argparse

from embedge.cli import screen
from embedge.errors import OptionError, PackError
from embedge.pack.files import remove_pack
from embedge.pack.shelf import find_shelved, packs_folder, shelved_packs
from embedge.sizes import size_text

SUMMARY = "remove a pack from the pack folder"
DESCRIPTION = """\
Removes a pack from the pack folder, which `embedge list` shows: the manifest first, then the files
that it names. Other files in the pack's folder stay, and so does every pack elsewhere."""
EXAMPLES = (
    "embedge remove all-MiniLM-L6-v2",
    "embedge remove v5-small v5-nano",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="a pack of `embedge list`")


def run(options: argparse.Namespace) -> int:
    """Removes the packs; none where one of the names is unknown."""
    found = []
    for name in options.names:
        folder = find_shelved(name)
        if folder is None:
            there = ", ".join(pack.folder.name for pack in shelved_packs()) or "none"
            raise OptionError(
                f"there is no pack {name!r} in {packs_folder()}; the packs there are: {there}"
            )
        found.append(folder)
    if len(set(found)) != len(found):
        raise PackError("two names are of one pack; give each once")
    for folder in found:
        size, left = remove_pack(folder)
        screen.show(f"{folder}: removed, {size_text(size)}")
        if left:
            screen.note(f"embedge: {folder} stays, with {', '.join(left[:5])}, not of the pack")
    return 0
