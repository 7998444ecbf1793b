"""What embedge leaves behind on a machine: its own cache, what was asked for, and nothing else.

Every test runs in a clean process and looks at its home, its folder for temporary files, its
current folder and its stderr afterwards; where strace is installed, also at the system calls.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import seeded
from embedge.cli import COMMANDS
from support.clean_process import Place, make_place, run_clean
from support.tiny import IMAGE, write_pack

LIBRARY = """
import sys, time
from embedge import Embedder, quantize
with Embedder(sys.argv[1]) as embedder:
    embedder.encode(["one", "two"], progress=lambda done, total: None)
    time.sleep({seconds})
"""
SEARCH = """
import sys
from embedge import Embedder, SearchIndex
with Embedder(sys.argv[1]) as embedder, SearchIndex(None, embedder) as index:
    index.update(sys.argv[2])
    assert index.search("one")
"""
IMAGES = """
import sys
import numpy as np
from embedge import Embedder
with Embedder(sys.argv[1]) as embedder:
    embedder.encode_image([np.zeros((8, 8, 3), np.uint8), sys.argv[3]])
"""
EXPORT = """
import sys
from pathlib import Path
from embedge_export.export import export_pack
export_pack(sys.argv[4], out=Path("pack"), tasks=("retrieval",), precisions=("fp32",))
"""
FORK = """
import os, sys
from embedge import Embedder
child = os.fork()
if child == 0:
    Embedder(sys.argv[1]).encode("one")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
FORK_AFTER_USE = """
import os, sys, warnings
from embedge import Embedder
# Python's own, from 3.12 on, about any fork of a process with threads.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
embedder = Embedder(sys.argv[1])
embedder.encode(["one", "two"] * 100)
child = os.fork()
if child == 0:
    embedder.encode(["three", "four"] * 100)
    Embedder(sys.argv[1]).encode("one")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
SPAWN = """
import multiprocessing, sys
def work(path):
    from embedge import Embedder
    return Embedder(path).encode("one").tolist()
if __name__ == "__main__":
    work(sys.argv[1])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(work, [sys.argv[1]])
"""
SERVER = """
import sys, threading, time, urllib.request
from embedge import Embedder
from embedge.server.run import Server
from embedge.server.settings import Settings
server = Server({"pack": Embedder(sys.argv[1])}, Settings(port=0, drain_seconds=0))
def ask():
    while not server.service.ready:
        time.sleep(0.01)
    urllib.request.urlopen(server.url + "/v1/embeddings", b'{"input":"one"}').read()
    server.stop()
threading.Thread(target=ask).start()
server.run(announce=False)
"""
PROGRAMS = {
    "library": LIBRARY.format(seconds=0),
    "search": SEARCH,
    "images": IMAGES,
    "exporter": EXPORT,
    "fork": FORK,
    "fork after use": FORK_AFTER_USE,
    "spawn": SPAWN,
    "server": SERVER,  # `embedge serve` without the command line, which ends by a signal only
}
# The arguments of each command; PACK, IMAGES, TEXTS, ROWS, PHOTO and MODEL stand for paths.
LINES = {
    "embed": ("embed", "TEXTS", "-p", "PACK"),
    "bulk": ("bulk", "ROWS", "--out", "p", "-p", "PACK"),
    "search": ("search", "one", "TEXTS", "-p", "PACK"),
    "classify": ("classify", "PHOTO", "-l", "a,b", "-p", "IMAGES"),
    "index": ("index", "--list"),
    "pipe": ("pipe", "-p", "PACK"),  # its stdin is empty
    "info": ("info", "PACK"),
    "list": ("list", "--models"),
    "completion": ("completion", "bash"),
    "doctor": ("doctor", "PACK"),
    "verify": ("verify", "PACK"),
    "bench": ("bench", "PACK", "--shapes", "1x4", "--seconds", "0.01"),
    "export": ("export", "MODEL", "--out", "p", "--tasks", "retrieval", "--precisions", "fp32"),
}
# What may stand there afterwards: what the command was asked to write.
WANTED = {"bulk": "current/p/", "export": "current/p/", "exporter": "current/pack/"}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    from PIL import Image

    folder = tmp_path_factory.mktemp("given")
    pack = write_pack(folder / "pack", passed=("fp32",), max_length=512)
    images = write_pack(folder / "images", image=IMAGE)
    seeded.write_v5_text_small(folder / "model", size="tiny", seed=7)
    texts, photo = folder / "texts.txt", folder / "photo.png"
    texts.write_text("one\ntwo\n")
    rows = folder / "rows.jsonl"
    rows.write_text('{"text": "one"}\n{"text": "two"}\n')
    Image.new("RGB", (8, 8)).save(photo)
    return {
        "PACK": str(pack),
        "IMAGES": str(images),
        "TEXTS": str(texts),
        "ROWS": str(rows),
        "PHOTO": str(photo),
        "MODEL": str(folder / "model"),
    }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


def start(name: str, paths: dict[str, str], folder: Path) -> list[str]:
    """What runs a program or a command: arguments for Python."""
    if name.startswith("command "):
        line = LINES[name.removeprefix("command ")]
        return ["-m", "embedge", *(paths.get(word, word) for word in line)]
    script = folder / "program.py"  # a file, for `spawn` starts it again
    script.write_text(PROGRAMS[name])
    pack = paths["IMAGES" if name == "images" else "PACK"]
    return [str(script), pack, paths["TEXTS"], paths["PHOTO"], paths["MODEL"]]


def check_ending(name: str, done: subprocess.CompletedProcess[str]) -> None:
    """It ended well, and nobody but a command of ours said a word."""
    lines = done.stderr.splitlines()
    if name.startswith("command "):
        lines = [line for line in lines if not line.startswith("embedge: ")]
    assert (done.returncode, lines) == (0, [])


def strangers(name: str, place: Place) -> set[str]:
    wanted = WANTED.get(name.removeprefix("command "))
    return {path for path in place.left() if wanted is None or not path.startswith(wanted)}


EVERYTHING = [*PROGRAMS, *(f"command {name}" for name in LINES)]


def test_every_command_is_tried():
    assert {*LINES, "serve", "pull", "remove"} == set(COMMANDS)


@pytest.mark.parametrize("name", EVERYTHING)
def test_nothing_is_left_behind_and_nothing_said(place, paths, tmp_path, name):
    if name.startswith("fork") and sys.platform == "win32":
        pytest.skip("this system has no fork")
    done = run_clean(place, start(name, paths, tmp_path))
    check_ending(name, done)
    assert strangers(name, place) == set()


@pytest.mark.parametrize("home", ["missing", "read-only", "unset"])
@pytest.mark.parametrize("name", ["library", "exporter", "command embed", "command doctor"])
def test_a_home_that_cannot_be_written_changes_nothing(place, paths, tmp_path, name, home):
    changes: dict[str, str | None] = {"HOME": None, "USERPROFILE": None}
    changes["XDG_CACHE_HOME"] = str(place.home / ".cache")  # else that of whoever runs the tests
    if home != "unset":
        # Nothing can be made below a file, and root cannot either.
        below = place.home / "file"
        below.write_text("")
        folder = str(below / "home") if home == "read-only" else str(tmp_path / "gone" / "home")
        changes = {"HOME": folder, "USERPROFILE": folder}
    done = run_clean(place, start(name, paths, tmp_path), changes=changes)
    check_ending(name, done)
    assert strangers(name, place) - {"home/file"} == set()


def can_trace() -> str | None:
    """Why system calls cannot be watched here; None if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"strace does not work here: {tried.stderr.strip()}"


# A thread of ONNX Runtime would connect within the first second.
LIVES = LIBRARY.format(seconds=2)
TRACED = {
    "network": "socket,connect,sendto,sendmsg,sendmmsg",
    "files": "openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink",
}


@pytest.mark.parametrize("name", ["lives", "exporter", "spawn", "command search", "command verify"])
def test_the_system_sees_no_connection_and_no_other_file(place, paths, tmp_path, name, monkeypatch):
    if reason := can_trace():
        pytest.skip(reason)
    monkeypatch.setitem(PROGRAMS, "lives", LIVES)
    record = tmp_path / "calls"
    # -y: the folder of a name that is relative, and what a descriptor stands for.
    options = ("-f", "-y", "-qq", "-o", record, "-e", f"trace={','.join(TRACED.values())}")
    done = run_clean(place, start(name, paths, tmp_path), before=("strace", *options))
    check_ending(name, done)
    calls = [
        line
        for line in record.read_text(encoding="utf-8", errors="replace").splitlines()
        if not re.search(r"= -1 E(NOENT|EXIST)|resumed>", line)
    ]
    assert any("openat(" in line for line in calls)  # else nothing was recorded
    # Processes of multiprocessing talk through sockets of this machine.
    network = [line for line in calls if re.search(r"\b(socket|connect|send\w+)\(", line)]
    assert [line for line in network if name != "spawn" or "AF_UNIX" not in line] == []
    written = [
        line
        for line in calls
        if re.search(r"O_CREAT|O_WRONLY|O_RDWR|\b(creat|mkdir|rename|link|symlink)\w*\(", line)
    ]
    cache = place.home / ".cache" / "embedge"
    allowed = [cache, place.temporary, place.current, Path("/dev/null"), Path("/dev/shm")]
    for line in written:
        names = re.findall(r'"([^"]*)"', line)
        assert names, line
        for path in (place.current / each for each in names):
            made = path in cache.parents and "mkdir" in line
            assert made or any(path.is_relative_to(each) for each in allowed), line
