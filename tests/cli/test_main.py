"""The front door: help, versions, and every ending as one sentence and an exit code."""

import _thread
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

import embedge
from embedge import terminal
from embedge.cli import COMMANDS, interrupt, main
from embedge.errors import GateError, MissingExtraError, OptionError
from embedge.sizes import size_text
from support.fakes import FakeEmbedder, write_pack


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"embedge {embedge.__version__}\n"


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_needs_nothing_heavy(command):
    code = """
import sys
from embedge.cli import main
code = main([*sys.argv[1:], "--help"])
heavy = {"numpy", "onnxruntime", "tokenizers", "onnx", "torch", "PIL", "embedge_export"}
print(sorted(heavy & set(sys.modules)))
sys.exit(code)
"""
    done = run_python(code, *command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "embedge", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"embedge {embedge.__version__}\n")


def test_no_command_shows_help(capsys):
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["embd"], "invalid choice"),
        (["embed", "--threads", "0"], "0 is less than 1"),
        (["embed", "--threads", "many"], "invalid whole number value: 'many'"),
        (["search"], "required: QUERY"),
        (["export"], "required: SOURCE"),
        (["embed", "--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_usage_errors_are_one_sentence(capsys, arguments, told):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("embedge: error: ")
    assert told in captured.err
    assert "--help" in captured.err


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (OptionError("bad\nthing; mend it"), 2, "embedge: error: bad thing; mend it\n"),
        (MissingExtraError("install it"), 2, "embedge: error: install it\n"),
        (GateError("missed"), 1, "embedge: error: missed\n"),
        (OSError(28, "No space left on device", "out.npy"), 2, "out.npy: No space left on device"),
        (KeyboardInterrupt(), 130, "embedge: interrupted\n"),
        (ZeroDivisionError("division by zero"), 70, "ZeroDivisionError: division by zero"),
        (MemoryError(), 70, "unexpected error: MemoryError (run again with --debug"),
    ],
)
def test_endings(monkeypatch, capsys, tmp_path, error, code, told):
    def fail(options):
        raise error

    monkeypatch.setattr("embedge.cli.arguments.open_embedder", fail)
    assert main(["bench", str(tmp_path)]) == code
    captured = capsys.readouterr().err
    assert told in captured
    assert captured.count("\n") == 1
    assert "Traceback" not in captured


@pytest.mark.parametrize("arguments", [["--debug", "bench", "x"], ["bench", "x", "--debug"]])
def test_debug_shows_the_traceback(monkeypatch, capsys, arguments):
    def fail(options):
        raise ZeroDivisionError("here")

    monkeypatch.setattr("embedge.cli.arguments.open_embedder", fail)
    assert main(arguments) == 70
    assert "Traceback" in capsys.readouterr().err


def test_warnings_are_sentences(monkeypatch, capsys, tmp_path):
    class Warns(FakeEmbedder):
        def load(self, task=None):
            warnings.warn("mind\nthis", UserWarning, stacklevel=2)

    monkeypatch.setattr("embedge.cli.arguments.open_embedder", lambda options: Warns())
    assert main(["bench", "x", "--shapes", "1x4", "--seconds", "0.001"]) == 0
    assert "embedge: warning: mind this\n" in capsys.readouterr().err


def test_pillows_warnings_which_name_no_file_are_not_shown(monkeypatch, capsys):
    class Warns(FakeEmbedder):
        def load(self, task=None):
            place = ("TiffImagePlugin.py", 982, "PIL.TiffImagePlugin")
            warnings.warn_explicit("Corrupt EXIF data", UserWarning, *place)

    monkeypatch.setattr("embedge.cli.arguments.open_embedder", lambda options: Warns())
    assert main(["bench", "x", "--shapes", "1x4", "--seconds", "0.001"]) == 0
    assert capsys.readouterr().err == ""


def test_pack_comes_from_the_environment_before_the_bundled_one(
    package, monkeypatch, capsys, tmp_path
):
    assert main(["info"]) == 2
    assert "`make default`" in capsys.readouterr().err
    bundled = write_pack(package / "default")
    assert main(["info"]) == 0
    assert f"{bundled} (bundled with embedge)" in capsys.readouterr().out
    monkeypatch.setenv("EMBEDGE_PACK", str(write_pack(tmp_path / "pack")))
    assert main(["info"]) == 0
    assert "bundled" not in capsys.readouterr().out
    assert main(["info", "a", "--pack", "b"]) == 2
    assert "two packs" in capsys.readouterr().err


def test_broken_pipe_is_quiet(tmp_path):
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from support.fakes import FakeEmbedder
from embedge.cli import arguments, main
arguments.open_embedder = lambda options: FakeEmbedder()
sys.exit(main(["embed"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parents[1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(b"some words\n" * 5000, timeout=60)
    assert process.returncode == 141
    assert errors == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["embed"], "stdout"),
        (["info"], "stdout"),
        (["info", "--json"], "stdout"),
        (["embed", "--out", "/dev/full"], "/dev/full"),
        (["embed", "--out", "/dev/full", "--format", "npy"], "/dev/full"),
    ],
)
def test_a_full_disk_is_one_sentence_that_names_the_file(tmp_path, arguments, name):
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from support.fakes import FakeEmbedder
from embedge.cli import arguments, main
arguments.open_embedder = lambda options: FakeEmbedder()
sys.exit(main(sys.argv[2:]))
"""
    if arguments[0] == "info":
        arguments = [*arguments, str(write_pack(tmp_path / "pack"))]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parents[1]), *arguments],
            input=b"some words\n" * 3000,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.decode() == f"embedge: error: {name}: No space left on device\n"


def test_cancellable_passes_results_and_errors():
    assert interrupt.cancellable(lambda cancel: 7) == 7
    with pytest.raises(OptionError, match="no"):
        interrupt.cancellable(lambda cancel: (_ for _ in ()).throw(OptionError("no")))


def test_ctrl_c_cancels_the_work():
    # A shell starts its background jobs with Ctrl-C ignored, and tests may be one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    ended = []

    def work(cancel: threading.Event) -> None:
        time.sleep(0.05)
        _thread.interrupt_main()
        ended.append(cancel.wait(10))

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupt.cancellable(work)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [True]


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.2, "0 s"), (59.7, "1:00"), (75, "1:15"), (3723, "1:02:03")]
)
def test_time_text(seconds, told):
    assert terminal.time_text(seconds) == told


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (5 * 2**20, "5.0 MiB"),
        (3 * 2**40, "3072.0 GiB"),
    ],
)
def test_size_text(size, told):
    assert size_text(size) == told


def test_text_that_the_console_lacks():
    assert terminal.encodable("日 a", "ascii") == "? a"
    assert terminal.encodable("\ud800", None) == "?"


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_is_plain_ascii(capsys, command):
    # argparse prints it as it is, and an old console shows no more than that.
    assert main([*command, "--help"]) == 0
    assert capsys.readouterr().out.isascii()
