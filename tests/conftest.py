"""What all tests share: no network, no user cache, and the tiny packs of `tiny.py`."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings

from support.tiny import write_pack

# Before any test imports ONNX Runtime: it would record and send how the tests use it. What embedge
# itself does about that is tested in processes without this variable (runtime/test_privacy.py).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# A shell's background job ignores Ctrl-C, and nohup a hangup: the processes that tests start, and
# send these signals to, would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes says more of the machine's other work than of the code.
settings.register_profile("embedge", deadline=None)
settings.load_profile("embedge")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this machine can be reached: a test that needs the network fails at once."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        local = self.family == getattr(socket, "AF_UNIX", None) or (
            isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1", "localhost")
        )
        if not local:
            raise RuntimeError(f"a test tried to reach the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("EMBEDGE_HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("EMBEDGE_THREADS", "EMBEDGE_MEMORY_LIMIT", "EMBEDGE_TOKEN_BUDGET"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """`give_away(path)` makes a file or folder another user's, also where root runs the tests."""

    def give(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, 54321, 54321, follow_symlinks=False)
        else:  # then all files here are another user's
            monkeypatch.setattr(os, "geteuid", lambda: 54321)

    return give


@pytest.fixture
def make_pack(tmp_path: Path) -> Callable[..., Path]:
    """`make_pack(name="pack", **options of write_pack)` writes a tiny pack under tmp_path."""

    def make(name: str = "pack", **options: Any) -> Path:
        return write_pack(tmp_path / name, **options)

    return make


@pytest.fixture
def pack(make_pack: Callable[..., Path]) -> Path:
    """A tiny pack: tasks retrieval and text-matching, fp32, prompts query and document."""
    return make_pack()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation that bundles no pack: what is put into its folder `default` is bundled."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.setattr("embedge.pack.files.resources", SimpleNamespace(files=lambda name: folder))
    monkeypatch.delenv("EMBEDGE_PACK", raising=False)
    return folder


@pytest.fixture(scope="session")
def real_tokenizer() -> Path:
    """The file that $EMBEDGE_TOKENIZER names, such as a real model's; skips where unset."""
    path = os.environ.get("EMBEDGE_TOKENIZER")
    if not path:
        pytest.skip("EMBEDGE_TOKENIZER is not set")
    return Path(path)
