"""Packs from a server or a folder: whole, or not there; broken connections, wrong bytes."""

import errno
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from embedge import Embedder
from embedge.cli import main
from embedge.errors import EmbedgeError, ManifestError, PackError
from embedge.files.locks import one_process
from embedge.pack.files import open_pack, verify_files
from embedge.pack.manifest import MANIFEST
from embedge.pulling import pull
from support.tiny import write_pack

FILE = "retrieval.fp32.onnx"


@dataclass
class Behavior:
    """What the server does otherwise than servers should."""

    ranges: bool = True
    breaks_after: int | None = None  # bytes of FILE in one answer
    wrong: bool = False  # the bytes of FILE
    longer: bool = False
    redirect: str | None = None
    asked: list[tuple[str, int]] = field(default_factory=list)  # file, first byte


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Behavior, Path]]:
    """The address of a pack, how it is served, and its folder."""
    folder, behavior = write_pack(tmp_path / "served"), Behavior()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if behavior.redirect:
                self.send_response(302)
                self.send_header("Location", behavior.redirect)
                self.end_headers()
                return
            path = folder / self.path.rpartition("/")[2]
            if not path.is_file():
                self.send_error(404)
                return
            data, start = path.read_bytes(), 0
            if path.name == FILE:
                data = bytes(len(data)) if behavior.wrong else data
                data += b"more" if behavior.longer else b""
            asked = self.headers.get("Range", "")
            if asked and behavior.ranges:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            behavior.asked.append((path.name, start))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            end = len(data)
            if path.name == FILE and behavior.breaks_after is not None:
                end = min(end, start + behavior.breaks_after)
            self.wfile.write(data[start:end])

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/packs/served", behavior, folder
        server.shutdown()
        thread.join()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMBEDGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "packs"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("end", ["", "/", f"/{MANIFEST}"])
def test_a_pack_from_a_server(served: Any, tmp_path: Path, end: str) -> None:
    address, _, folder = served
    seen = []
    place = tmp_path / "here" / "mine"
    pull(address + end, place, progress=lambda done, total, name: seen.append((done, total)))
    assert files(place) == files(folder)
    assert verify_files(open_pack(place)) == []
    assert seen[-1][0] == seen[-1][1]
    assert [path.name for path in place.parent.iterdir()] == ["mine"]
    with Embedder(place) as embedder:
        assert embedder.encode("ab").shape == (8,)


def test_a_broken_connection_goes_on(served: Any, tmp_path: Path) -> None:
    address, behavior, folder = served
    size = (folder / FILE).stat().st_size
    behavior.breaks_after = size // 3
    place = tmp_path / "mine"
    for _ in range(3):
        with pytest.raises(PackError, match="run the command again, which goes on"):
            pull(address, place)
        assert not place.exists()
        behavior.asked.remove((MANIFEST, 0))
    starts = [start for name, start in behavior.asked if name == FILE]
    assert starts == [0, size // 3, 2 * (size // 3)]
    behavior.breaks_after = None
    pull(address, place)
    assert behavior.asked[-1][1] == 0 or behavior.asked[-1][0] == FILE
    assert files(place) == files(folder)
    # No byte was fetched twice.
    whole = [name for name, start in behavior.asked if start == 0 and name != MANIFEST]
    assert len(set(whole)) == len(whole)


def test_a_server_that_knows_no_ranges(served: Any, tmp_path: Path) -> None:
    address, behavior, folder = served
    behavior.breaks_after, behavior.ranges = 100, False
    with pytest.raises(PackError):
        pull(address, tmp_path / "mine")
    behavior.breaks_after = None
    pull(address, tmp_path / "mine")
    assert files(tmp_path / "mine") == files(folder)


def test_wrong_bytes_are_not_kept(served: Any, tmp_path: Path) -> None:
    address, behavior, folder = served
    behavior.wrong = True
    with pytest.raises(PackError, match=rf"{FILE} is not the file that the manifest describes"):
        pull(address, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    behavior.wrong = False
    pull(address, tmp_path / "mine")
    assert files(tmp_path / "mine") == files(folder)


def test_a_file_without_an_end(served: Any, tmp_path: Path) -> None:
    address, behavior, _ = served
    behavior.longer = True
    with pytest.raises(PackError, match="is longer than the"):
        pull(address, tmp_path / "mine")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirects_to_files_are_not_followed(served: Any, tmp_path: Path, target: str) -> None:
    address, behavior, _ = served
    behavior.redirect = target
    with pytest.raises(PackError, match="cannot be fetched"):
        pull(address, tmp_path / "mine")


def test_a_manifest_with_names_outside(served: Any, tmp_path: Path) -> None:
    address, _, folder = served
    path = folder / MANIFEST
    path.write_text(path.read_text().replace(FILE, "../../evil"))
    with pytest.raises(ManifestError, match="not a plain file name"):
        pull(address, tmp_path / "mine")
    assert not (tmp_path / "evil").exists()


def test_what_is_not_there(served: Any, tmp_path: Path) -> None:
    address, _, _ = served
    with pytest.raises(PackError, match=r"manifest\.json cannot be fetched: .*404"):
        pull(f"{address}/nothing/nothing".replace("/served", "") + "?a", tmp_path / "mine")
    with pytest.raises(PackError, match=r"manifest\.json cannot be read"):
        pull(str(tmp_path / "nothing"), tmp_path / "mine")


def test_a_pack_from_a_folder(pack: Path, tmp_path: Path) -> None:
    pull(str(pack), tmp_path / "mine")
    assert files(tmp_path / "mine") == files(pack)
    with pytest.raises(PackError, match="exists already; `embedge remove mine`"):
        pull(str(pack), tmp_path / "mine")
    (pack / FILE).unlink()
    with pytest.raises(PackError, match=f"{FILE} cannot be read"):
        pull(str(pack), tmp_path / "other")


def test_two_at_once(pack: Path, tmp_path: Path) -> None:
    with one_process(tmp_path / ".mine.pull.lock") as free:
        assert free
        with pytest.raises(PackError, match="another process fetches mine"):
            pull(str(pack), tmp_path / "mine")
    pull(str(pack), tmp_path / "mine")


def test_a_full_disk(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    usage = SimpleNamespace(total=1000, free=10)
    monkeypatch.setattr("embedge.pulling.shutil.disk_usage", lambda path: usage)
    with pytest.raises(PackError, match=r"its disk has .* free; make room"):
        pull(str(pack), tmp_path / "mine")


def test_an_error_of_the_disk_is_a_sentence(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("embedge.pulling._check_hash", fail)
    with pytest.raises(EmbedgeError, match="No space left on device; run the command again"):
        pull(str(pack), tmp_path / "mine")


def test_the_command(served: Any, shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address, _, folder = served
    assert main(["pull", address]) == 0
    assert "license Apache-2.0" in capsys.readouterr().out
    assert files(shelf / "served") == files(folder)
    assert main(["pull", str(folder), "--name", "second"]) == 0
    assert main(["embed", "-p", "second", "-t", "ab"]) == 0
    assert main(["pull", f"{address}/{MANIFEST}", "--name", "a/b"]) == 2
    assert main(["pull", address]) == 2
    capsys.readouterr()
    for source in ("", "http://", f"http://127.0.0.1/{MANIFEST}"):
        assert main(["pull", source]) == 2
        assert "ends in no name" in capsys.readouterr().err
