"""verify loads a pack in a process of its own: what crashes there is a finding, not an end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import embedge
from embedge.cli import apart, main
from embedge.cli.apart import CrashedError, run_apart
from embedge.cli.commands import verify

MakePack = Callable[..., Path]
ROOT = str(Path(embedge.__file__).parents[1])


@pytest.fixture
def pack(make_pack: MakePack) -> Path:
    """A pack that every check passes."""
    return make_pack(passed=("fp32",), max_length=256)


def start(*arguments: str, cwd: Path | None = None, **options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "embedge", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": ROOT, **options},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_sound_and_a_damaged_pack(pack: Path) -> None:
    good = start("verify", str(pack))
    out, err = good.communicate()
    assert (good.returncode, err) == (0, "")
    assert "files, " in out
    (pack / "shared.bin").write_bytes(b"short")
    bad = start("--debug", "verify", str(pack))
    out, err = bad.communicate()
    assert bad.returncode == 1
    assert "FAIL  files" in out
    missing = start("verify", str(pack / "nowhere"))
    out, err = missing.communicate()
    assert (missing.returncode, out) == (2, "")
    assert err.startswith("embedge: error: ")
    assert err.count("\n") == 1


def crash(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(apart, "CODE", f"import os, signal, sys\n{code}")
    monkeypatch.setattr(sys, "argv", ["embedge", "verify", "pack"])


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", r"it crashed \(SIGSEGV\)"),
        ("os.kill(os.getpid(), signal.SIGABRT)", r"it crashed \(SIGABRT\)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", r"when memory runs out"),
    ],
)
def test_a_crash_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str, told: str
) -> None:
    no_core = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
    crash(monkeypatch, no_core + code)
    with pytest.raises(CrashedError, match=told):
        run_apart(["verify"])
    assert main() == 1
    out = capsys.readouterr().out
    assert out.startswith("FAIL  process")
    assert "do not use this pack" in out


def test_its_exit_code_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    crash(monkeypatch, "sys.exit(141)")
    assert run_apart([]) == 141


def test_the_arguments_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def run(arguments: list[str]) -> int:
        seen.append(arguments)
        return 0

    monkeypatch.setattr(verify, "run_apart", run)
    for argv in (["--debug", "verify", "a pack"], ["verify", "--", "-pack"], ["verify"]):
        monkeypatch.setattr(sys, "argv", ["embedge", *argv])
        assert main() == 0
    assert seen == [
        ["--debug", "verify", "--in-process", "a pack"],
        ["verify", "--in-process", "--", "-pack"],
        ["verify", "--in-process"],
    ]


def test_python_code_that_calls_the_command_stays_in_its_process(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "run_apart", None)
    assert main(["verify", str(pack)]) == 0


def test_a_frozen_program_says_that_nothing_is_contained(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "argv", ["program", "verify", str(pack)])
    assert main() == 0
    assert "in this program itself" in capsys.readouterr().err


def test_modules_of_the_current_folder_are_not_run(pack: Path, tmp_path: Path) -> None:
    """A foreign pack may bring files that are called like modules."""
    for name in ("json.py", "signal.py", "numpy.py", "embedge.py", "onnxruntime.py"):
        (pack / name).write_text("open('was-run', 'w').close()")
    done = start("verify", ".", cwd=pack)
    out, err = done.communicate()
    assert (done.returncode, err) == (0, ""), out
    assert not (pack / "was-run").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_ends_both(pack: Path, tmp_path: Path, number: int, code: int) -> None:
    slow = (
        "import os, signal, sys, time\n"
        # A background job of a shell starts with SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from embedge.cli import apart\n"
        f"apart.CODE = \"import os, time; open({str(tmp_path / 'pid')!r}, 'w')"
        '.write(str(os.getpid())); time.sleep(600)"\n'
        "sys.argv[1:] = ['verify', 'pack']\n"
        "from embedge.__main__ import main\n"
        "sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow],
        env={**os.environ, "PYTHONPATH": ROOT},
        stderr=subprocess.PIPE,
        text=True,
    )
    path = tmp_path / "pid"
    while not (path.exists() and path.read_text()):
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err.count("\n") == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int(path.read_text()), 0)
