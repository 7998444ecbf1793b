"""Standard streams that are missing, closed, or a host's own; and Ctrl-C at odd moments."""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import embedge
from embedge import Embedder
from embedge.cli import main
from embedge.cli.streams import input_bytes, standard_streams
from embedge.progress import ProgressBar
from embedge.terminal import is_terminal
from support.tiny import IMAGE, write_pack

CLOSINGS = {"stdin": "<&-", "stdout": ">&-", "stderr": "2>&-", "all": "<&- >&- 2>&-"}


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("one\ntwo\n")
    return path


def shell(command, closing, *arguments):
    line = f'exec "$0" "$@" {closing}'
    return subprocess.run(
        ["sh", "-c", line, sys.executable, "-m", "embedge", *command, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


needs_shell = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


@needs_shell
@pytest.mark.parametrize("closing", CLOSINGS)
def test_embed_works_without_streams(pack, texts, tmp_path, closing):
    out = tmp_path / "v.npy"
    done = shell(["embed"], CLOSINGS[closing], texts, "-p", pack, "--out", out, "--progress")
    assert done.returncode == 0, done.stderr
    assert np.load(out).shape == (2, 8)


@needs_shell
def test_embed_to_a_closed_stdout_and_from_a_closed_stdin(pack, texts):
    done = shell(["embed"], ">&-", texts, "-p", pack, "--task", "retrieval")
    assert (done.returncode, done.stderr) == (0, "")
    done = shell(["embed"], "2>&-", texts, "-p", pack)
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == [0, 1]
    done = shell(["embed"], "<&-", "-p", pack)
    assert (done.returncode, done.stdout) == (0, "")
    assert "the input holds no text" in done.stderr


@needs_shell
@pytest.mark.parametrize("closing", ["stdout", "stderr", "all"])
@pytest.mark.parametrize(
    "command",
    [
        ["search", "one", "TEXTS", "-p", "PACK"],
        ["info", "PACK"],
        ["bench", "PACK", "--shapes", "1x4", "--seconds", "0.001"],
        ["classify", "PHOTO", "-l", "a,b", "-p", "IMAGES"],
        ["--version"],
    ],
    ids=lambda command: command[0],
)
def test_every_command_works_without_streams(tmp_path, texts, command, closing):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    paths = {"TEXTS": texts, "PHOTO": tmp_path / "photo.png"}
    paths["PACK"] = paths["IMAGES"] = write_pack(tmp_path / "pack", image=IMAGE)
    done = shell([paths.get(word, word) for word in command], CLOSINGS[closing])
    assert done.returncode == 0, done.stderr
    assert bool(done.stdout) == (closing == "stderr")


@needs_shell
def test_an_error_without_a_stderr_keeps_its_exit_code(tmp_path):
    assert shell(["embed"], "2>&-", tmp_path / "missing.txt").returncode == 2
    assert shell(["embd"], "2>&-").returncode == 2
    assert shell([], "2>&-").returncode == 2


@needs_shell
def test_no_file_takes_the_number_of_a_closed_stream(pack, texts):
    """What a library in C writes to "standard error" would stand in it."""
    code = """
import os, sys
sys.stdin = sys.stdout = sys.stderr = None
os.closerange(0, 3)
from embedge.cli import main
code = main(["embed", *sys.argv[1:]])
with open(sys.argv[1]) as stream:
    sys.exit(code or int(stream.fileno() < 3))
"""
    done = subprocess.run([sys.executable, "-c", code, str(texts), "-p", str(pack)], check=False)
    assert done.returncode == 0


class OnlyWrites:
    """What a window's host puts in the place of a stream."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


def closed_stream():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("make", [lambda: None, closed_stream], ids=["none", "closed"])
def test_a_host_without_streams_calls_main(monkeypatch, pack, texts, tmp_path, make):
    streams = {name: make() for name in ("stdin", "stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    out = tmp_path / "v.npy"
    codes = [
        main(["embed", str(texts), "-p", str(pack), "--out", str(out), "--progress"]),
        main(["embed", "-p", str(pack)]),
        main(["info", str(pack)]),
        main(["search", "one", str(texts), "-p", str(pack)]),
        main(["--debug", "embed", str(tmp_path / "missing")]),
        main(["--version"]),
        main([]),
    ]
    left = {name: getattr(sys, name) for name in streams}
    monkeypatch.undo()
    assert codes == [0, 0, 0, 0, 2, 0, 2]
    assert np.load(out).shape == (2, 8)
    assert left == streams


def test_a_host_with_streams_of_its_own_sees_all(monkeypatch, pack, texts, tmp_path):
    out, err = OnlyWrites(), OnlyWrites()
    monkeypatch.setattr(sys, "stdin", io.StringIO("alpha\nbeta\n"))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    codes = [main(["embed", "-p", str(pack), "--progress"]), main(["embed", "nosuch"])]
    assert (sys.stdout, sys.stderr) == (out, err)
    monkeypatch.undo()
    assert codes == [0, 2]
    assert out.text.count("\n") == 2
    assert "nosuch does not exist" in err.text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_what_is_said_may_be_lost(monkeypatch, pack, texts, tmp_path):
    out = tmp_path / "v.npy"
    texts.write_bytes(b"one\n\xff\n")
    with contextlib.suppress(OSError), open("/dev/full", "w", buffering=1) as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", full)
        code = main(["embed", str(texts), "-p", str(pack), "--out", str(out), "--progress"])
        monkeypatch.undo()
        assert code == 1
        assert out.exists()
        with ProgressBar(True, stream=full) as progress:
            progress.update(0.5, "half")
            progress.say("a word")


def test_streams_that_are_there_are_left_alone():
    before = sys.stdin, sys.stdout, sys.stderr
    with standard_streams():
        assert (sys.stdin, sys.stdout, sys.stderr) == before


def test_odd_streams(monkeypatch):
    assert not is_terminal(OnlyWrites())
    assert not is_terminal(closed_stream())
    monkeypatch.setattr(sys, "stdin", io.StringIO("é\ud800"))
    assert input_bytes().read() == b"\xc3\xa9\xed\xa0\x80"


@pytest.mark.parametrize("stderr", ["None", "closed", "object()"])
def test_a_warning_that_cannot_be_shown_costs_no_vector(pack, stderr):
    code = f"""
import io, sys
from embedge import Embedder, quantize
closed = io.StringIO()
closed.close()
sys.stderr = {stderr}
with Embedder(sys.argv[1]) as embedder:
    print(embedder.encode(["x" * 500], embedding_type="int8").shape, embedder.truncations)
print(quantize([[0.0, 1.0]], "int8").shape)
"""
    done = run_code(code, pack)
    assert done.stdout == "(1, 8) 1\n(1, 2)\n"


def test_a_warning_turned_into_an_error_is_one(pack):
    with Embedder(pack) as embedder, pytest.raises(embedge.TruncationWarning):
        embedder.encode(["x" * 500])


def run_code(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


INTERRUPT = """
import signal, sys
module = sys.argv.pop(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts without it
class Interrupt:
    def find_spec(self, name, *_):
        if name == module:
            {what}
sys.meta_path.insert(0, Interrupt())
from embedge.__main__ import main
sys.exit(main())
"""
PLAIN = "signal.raise_signal(signal.SIGINT)"
# As a library in C that was interrupted while it imported another one.
CHANGED = """
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError("numpy.core.multiarray failed to import") from None
"""


@pytest.mark.parametrize("what", [PLAIN, CHANGED], ids=["plain", "changed"])
@pytest.mark.parametrize("module", ["embedge.embedder", "numpy", "tokenizers", "onnxruntime"])
def test_ctrl_c_during_an_import_is_one_sentence(pack, texts, module, what):
    code = INTERRUPT.format(what=what)
    # bench loads its graphs in the main thread; embed does not, and Ctrl-C comes to that alone.
    command = ["bench", pack, "--shapes", "1x4", "--seconds", "0.001", "--precision", "fp32"]
    done = run_code(code, module, *command)
    assert (done.returncode, done.stderr) == (130, "embedge: interrupted\n")


@pytest.mark.parametrize("module", ["embedge.cli", "argparse", "embedge.cli.commands.search"])
def test_ctrl_c_before_the_command_line_is_one_sentence(module):
    done = run_code(INTERRUPT.format(what=PLAIN), module, "--version")
    assert (done.returncode, done.stderr) == (130, "embedge: interrupted\n")


def test_the_installed_command_starts_where_ctrl_c_is_heard():
    project = Path(embedge.__file__).parents[2] / "pyproject.toml"
    if not project.exists():
        pytest.skip("not in a checkout")
    assert 'embedge = "embedge.__main__:main"' in project.read_text("utf-8")
