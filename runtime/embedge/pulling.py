"""Packs from elsewhere: fetched by http(s) or copied from a folder, every file by its hash.

Takes the address of a pack's folder, or the folder, and the place for it. The manifest is read and
checked first, then each file is fetched into a folder beside the place, where another try goes on
from the byte at which the last one broke off. The place appears when all files are those of the
manifest, and not before. A pack holds no code; who may be trusted with its vectors is the user's
decision.
"""

import errno
import hashlib
import http.client
import os
import shutil
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from embedge.errors import ManifestError, PackError
from embedge.files.locks import one_process
from embedge.files.regular import open_regular, read_regular
from embedge.images.urls import opener
from embedge.pack.manifest import MANIFEST, FileEntry, Manifest
from embedge.pack.reading import MAX_MANIFEST_BYTES, parse_manifest
from embedge.reasons import reason_of
from embedge.sizes import size_text

SILENCE = 30.0  # seconds that a server may say nothing
_CHUNK = 2**18
_AGAIN = "run the command again, which goes on where it stopped"
OnBytes = Callable[[int, int, str], None]  # bytes done, bytes in all, the file


def pull(
    source: str, place: Path, *, progress: OnBytes = lambda done, total, name: None
) -> Manifest:
    """Fetches a pack.

    Args:
        source: the address of a folder (http or https), with or without manifest.json at its end,
            or a local folder.
        place: the folder to make; it may not exist.
        progress: called after each piece.

    Raises:
        PackError: it cannot be fetched, a file is not what the manifest says, or the place or
            another pull is in the way. What was fetched is kept for the next try, unless its hash
            is wrong.
        ManifestError: there is no manifest that this version can trust.
    """
    if os.path.lexists(place):
        raise PackError(
            f"{place} exists already; `embedge remove {place.name}` removes a pack, or give "
            "another --name"
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with one_process(place.with_name(f".{place.name}.pull.lock")) as free:
            if not free:
                raise PackError(f"another process fetches {place.name}; wait until it has ended")
            return _pull(_Remote(source) if is_url(source) else _Local(source), place, progress)
    except OSError as error:
        raise PackError(
            f"{error.filename or place} cannot be written: {error.strerror or error}; {_AGAIN}"
        ) from error


def is_url(source: str) -> bool:
    """Whether a source is an address rather than a folder."""
    return urllib.parse.urlsplit(source).scheme in ("http", "https")


def _pull(origin: "_Remote | _Local", place: Path, progress: OnBytes) -> Manifest:
    text = origin.manifest()
    manifest = _parsed(text, origin.where)
    part = place.with_name(f".{place.name}.pull")
    part.mkdir(exist_ok=True)
    entries = manifest.files
    total, done = sum(entry.size for entry in entries.values()), 0
    _check_space(part, entries)
    for name, entry in entries.items():
        kept = _part_of(part, entry)
        if not (kept.exists() and kept.stat().st_size == entry.size):
            for size in _append(origin, name, kept, entry):
                progress(done + size, total, name)
        _check_hash(kept, name, entry, origin.where)
        done += entry.size
        progress(done, total, name)
    whole = part / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    for name, entry in entries.items():
        kept = _part_of(part, entry)
        shared = [other for other, same in entries.items() if same.sha256 == entry.sha256]
        if name == shared[-1]:
            kept.replace(whole / name)
        else:
            shutil.copyfile(kept, whole / name)
    (whole / MANIFEST).write_bytes(text)
    whole.rename(place)
    shutil.rmtree(part)
    return manifest


def _parsed(text: bytes, where: str) -> Manifest:
    try:
        return parse_manifest(text.decode("utf-8"))
    except (ManifestError, UnicodeDecodeError) as error:
        raise ManifestError(f"{where}: {MANIFEST}: {error}") from None


def _part_of(part: Path, entry: FileEntry) -> Path:
    """Where a file's bytes are kept until all are there: by its hash, whatever it is called."""
    return part / f"{entry.sha256}.part"


def _check_space(part: Path, entries: Any) -> None:
    """Makes sure that the disk has room for what is not there yet."""
    sizes = {entry.sha256: entry.size for entry in entries.values()}
    kept = sum(path.stat().st_size for path in part.glob("*.part"))
    needed, usage = sum(sizes.values()) - kept, shutil.disk_usage(part)
    if usage.total and usage.free < needed:
        raise PackError(
            f"{part.parent}: the pack takes {size_text(needed)} more, and its disk has "
            f"{size_text(usage.free)} free; make room, or set EMBEDGE_HOME to another disk"
        )


def _append(origin: "_Remote | _Local", name: str, kept: Path, entry: FileEntry) -> Iterator[int]:
    """Adds what is missing of a file; gives how many bytes of it are there, after each piece."""
    have = kept.stat().st_size if kept.exists() else 0
    if have > entry.size:
        have = 0
    for start, piece in origin.pieces(name, have):
        with kept.open("r+b" if start and kept.exists() else "wb") as file:
            file.seek(start)
            file.truncate()
            if start + len(piece) > entry.size:
                raise PackError(
                    f"{origin.where}: {name} is longer than the {entry.size:,} bytes of the "
                    "manifest; ask the owner of the pack to upload it again"
                )
            file.write(piece)
        have = start + len(piece)
        yield have
    if have < entry.size:
        raise PackError(
            f"{origin.where}: {name} ended after {have:,} of {entry.size:,} bytes; {_AGAIN}"
        )


def _check_hash(kept: Path, name: str, entry: FileEntry, where: str) -> None:
    with open_regular(kept) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != entry.sha256:
        kept.unlink()
        raise PackError(
            f"{where}: {name} is not the file that the manifest describes: its sha256 is {found}, "
            f"not {entry.sha256}. It was removed; run the command again, and if that does not "
            "help, ask the owner of the pack to upload it again"
        )


class _Local:
    """A pack in a folder."""

    def __init__(self, source: str) -> None:
        self._folder = Path(source).expanduser()
        self.where = str(self._folder)

    def manifest(self) -> bytes:
        """The bytes of its manifest."""
        try:
            return read_regular(self._folder / MANIFEST, most=MAX_MANIFEST_BYTES)
        except OSError as error:
            raise PackError(
                f"{self._folder / MANIFEST} cannot be read: {error.strerror or error}; name the "
                "folder of a pack, or an address that begins with https://"
            ) from error

    def pieces(self, name: str, start: int) -> Iterator[tuple[int, bytes]]:
        """The bytes of a file from `start` on, with their places."""
        try:
            with open_regular(self._folder / name) as file:
                file.seek(start)
                while piece := file.read(_CHUNK):
                    yield start, piece
                    start += len(piece)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise PackError(
                f"{self._folder / name} cannot be read: {error.strerror or error}"
            ) from error


class _Remote:
    """A pack behind an address."""

    def __init__(self, source: str) -> None:
        parts = urllib.parse.urlsplit(source)
        path = parts.path.removesuffix(MANIFEST).rstrip("/")
        self._parts = parts._replace(path=path, fragment="")
        host = parts.netloc.rpartition("@")[2]  # for messages: without a password
        self.where = urllib.parse.urlunsplit(self._parts._replace(query="", netloc=host))
        self._opener = opener()

    def manifest(self) -> bytes:
        """The bytes of its manifest."""
        data = bytearray()
        for _, piece in self.pieces(MANIFEST, 0):
            data += piece
            if len(data) > MAX_MANIFEST_BYTES:
                raise PackError(f"{self.where}: {MANIFEST} is too large to be a manifest")
        return bytes(data)

    def pieces(self, name: str, start: int) -> Iterator[tuple[int, bytes]]:
        """As of a folder; a server that knows no ranges sends the file from its beginning."""
        url = urllib.parse.urlunsplit(
            self._parts._replace(path=f"{self._parts.path}/{urllib.parse.quote(name)}")
        )
        headers = {"User-Agent": "embedge", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            request = urllib.request.Request(url, headers=headers)
            with self._opener.open(request, timeout=SILENCE) as response:
                self._check_scheme(response.url)
                if start and response.status != http.client.PARTIAL_CONTENT:
                    start = 0
                elif start and not response.headers.get("Content-Range", "").startswith(
                    f"bytes {start}-"
                ):
                    raise PackError(
                        f"{self.where}: the server sent another part of {name}; {_AGAIN}"
                    )
                while piece := response.read(_CHUNK):
                    yield start, piece
                    start += len(piece)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise
            reason = getattr(error, "reason", None)
            why = reason_of(reason if isinstance(reason, BaseException) else error)
            raise PackError(
                f"{self.where}: {name} cannot be fetched: {why}. Check the address, which is "
                f"that of the folder with {MANIFEST}; or {_AGAIN}"
            ) from error

    def _check_scheme(self, url: str) -> None:
        if self._parts.scheme == "https" and not url.startswith("https://"):
            raise PackError(
                f"{self.where}: the server sends to an address without TLS; not followed"
            )
