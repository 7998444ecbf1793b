"""The wheel in an environment of its own, away from the checkout: `make test-wheel`.

Installing needs a package index (or pip's cache); what is tested runs without any network.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 25_000_000  # bytes; the Makefile has the same
# Python's own sockets raise; proxies lead nowhere, for what does not ask Python.
OFFLINE = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(f"tried to reach the network: {arguments}")
sys.addaudithook(refuse)
"""


@pytest.fixture(scope="session")
def wheel() -> Path:
    wheels = sorted((ROOT / "dist").glob("embedge-*.whl"))
    assert len(wheels) == 1, "make wheel"
    return wheels[0]


@pytest.fixture(scope="session")
def binaries(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of a fresh environment that holds the wheel and its extra `cpu`."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    found = folder / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run(
        [found / "python", "-m", "pip", "install", "--quiet", f"{wheel}[cpu]"], check=True
    )
    return found


@pytest.fixture
def run(binaries: Path, tmp_path: Path):
    """Runs a command of the environment offline, in an empty folder, without a home."""
    (tmp_path / "sitecustomize.py").write_text(OFFLINE, encoding="utf-8")
    dead = "http://127.0.0.1:9"
    environment = {
        "PATH": str(binaries),
        "PYTHONPATH": str(tmp_path),
        "HOME": "/nonexistent",
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), dead),
        **{name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ},
    }

    def start(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [binaries / command[0], *command[1:]],
            input=text,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return start


def test_it_holds_the_pack_and_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < LIMIT
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "embedge/default/manifest.json" in names
    assert sum(name.startswith("embedge/default/") for name in names) > 10
    assert not [name for name in names if name.startswith(("models/", "tests/"))]


def test_the_network_is_out_of_reach(run) -> None:
    done = run("python", "-c", "import socket; socket.create_connection(('192.0.2.1', 80))")
    assert "tried to reach the network" in done.stderr


def test_the_first_example_works(run) -> None:
    code = (
        "from embedge import Embedder; "
        "e = Embedder(); v = e.encode(['hello']); print(v.shape == (1, e.dimension), e.folder)"
    )
    done = run("python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True ")
    assert "site-packages" in done.stdout


def test_the_commands_work(run) -> None:
    done = run("embedge", "embed", text="hello\nworld\n")
    assert (done.returncode, done.stdout.count('"embedding"')) == (0, 2), done.stderr
    done = run("embedge", "info")
    assert "(bundled with embedge)" in done.stdout, done.stderr
    for command in ("verify", "doctor"):
        done = run("embedge", command)
        assert done.returncode == 0, done.stdout + done.stderr
