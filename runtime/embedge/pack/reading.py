"""manifest.json as text: read and checked before any other file of a pack is opened, and written.

Turns the JSON text into `Manifest` and back, and refuses whatever is malformed, contradictory or
unsafe (names that leave the folder). Knows nothing of ONNX; `files.py` checks the other files.
"""

import json
import os
from typing import Any

from embedge.errors import ManifestError
from embedge.failures import file_remedy
from embedge.files.paths import absolute_path
from embedge.files.regular import read_regular
from embedge.pack.checks import check_manifest
from embedge.pack.fields import build, written
from embedge.pack.manifest import MANIFEST, Manifest

FORMAT = "embedge.pack"
FORMAT_VERSION = 1
# A manifest is a few kilobytes per graph; a larger file is something else, and is not read.
MAX_MANIFEST_BYTES = 16 * 2**20


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """Reads and checks `folder/manifest.json`.

    Raises:
        OptionError: the path is empty, or its home folder is unknown.
        ManifestError: there is none, or it is not a manifest that this version can trust.

    >>> manifest = read_manifest("my-pack")
    >>> manifest.dimension, manifest.default_task, manifest.precisions()
    (256, 'text-matching', ('int8',))
    """
    folder = absolute_path(folder, "folder")
    path = folder / MANIFEST
    try:
        if not folder.is_dir():
            raise ManifestError(
                f"{folder} is not a folder; a model pack is a folder with {MANIFEST}"
            )
        if path.is_symlink():
            raise ManifestError(f"{path} is a link; copy the pack with its real files")
        text = read_regular(path, most=MAX_MANIFEST_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise ManifestError(
            f"{folder} has no {MANIFEST}, so it is not a model pack (an export that was "
            "interrupted leaves none). Make one with `embedge export SOURCE --out FOLDER`"
        ) from None
    except OSError as error:
        raise ManifestError(
            f"{path} cannot be read: {error.strerror or error}; {file_remedy(error)}"
        ) from error
    except UnicodeDecodeError as error:
        raise ManifestError(
            f"{path} cannot be read: it is not UTF-8 ({error}); copy or export the pack again"
        ) from error
    try:
        return parse_manifest(text)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from None


def parse_manifest(text: str) -> Manifest:
    """Checks the JSON text of a manifest. Errors name the field, not the file."""
    try:
        root = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"not valid JSON: {error}; export the pack again") from None
    if "\\u" in text:  # otherwise it was UTF-8, which has no such characters
        _check_characters(root)
    if not isinstance(root, dict) or root.get("format") != FORMAT:
        raise ManifestError(f'not an embedge manifest: "format" is not "{FORMAT}"')
    version = root.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise ManifestError(
            f'"format_version" is {version!r}, this embedge reads {FORMAT_VERSION}; '
            "install the matching embedge, or export the pack again"
        )
    body = {key: value for key, value in root.items() if key not in ("format", "format_version")}
    manifest: Manifest = build(Manifest, body, "manifest")
    check_manifest(manifest)
    return manifest


def dump_manifest(manifest: Manifest) -> str:
    """The JSON text of a manifest; `parse_manifest` gives the same manifest back."""
    check_manifest(manifest)
    root = {"format": FORMAT, "format_version": FORMAT_VERSION, **written(manifest)}
    _check_characters(root)
    return json.dumps(root, indent=2, ensure_ascii=False) + "\n"


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ManifestError(f"the name {key!r} stands twice in one object")
        result[key] = value
    return result


def _check_characters(root: Any) -> None:
    """Refuses half characters (lone surrogates), which no file, index or tokenizer takes."""
    try:
        json.dumps(root, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        around = error.object[max(0, error.start - 20) : error.end + 20]
        raise ManifestError(
            f"half a character (a lone surrogate) stands in {around!r}; take it out, for example "
            "from a prompt, and export the pack again"
        ) from None
    except (RecursionError, ValueError) as error:  # numbers of thousands of digits
        raise ManifestError(f"not JSON that can be read: {error}; export the pack again") from None
