"""What is said of a network that did not load: the pack only where it is the pack's fault."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from embedge import Embedder, PackFileError
from embedge.engine.providers.register import provider_of
from embedge.errors import DeviceError, EmbedgeError, MemoryLimitError
from embedge.failures import file_remedy, loading_failure, running_failure
from support.tiny import relist

GRAPH = Path("g.onnx")


@pytest.mark.parametrize(
    ("text", "device", "kind", "remedy"),
    [
        ("Exception during initialization: std::bad_alloc", "cpu", MemoryLimitError, "memory"),
        ("Failed to allocate memory for requested buffer", "cpu", MemoryLimitError, "memory"),
        ("CUDA failure 2: out of memory", "cuda", MemoryLimitError, "memory"),
        (
            "Available memory of 9 is smaller than requested bytes of 10",
            "cuda",
            MemoryLimitError,
            "memory",
        ),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED", "cuda", MemoryLimitError, "memory"),
        ("SystemError : 12", "cpu", MemoryLimitError, "memory"),
        ("SystemError : 24", "cpu", PackFileError, "too many files open"),
        ("open file g.data fail, errcode = 24 - unknown error", "cpu", PackFileError, "too many"),
        ("SystemError : 13", "cpu", PackFileError, "permissions"),
        ("SystemError : 5", "cpu", PackFileError, "the disk"),
        ("CUDA failure 100: no CUDA-capable device", "cuda", DeviceError, "doctor"),
        ("cudnn_status_not_initialized CUDNN", "cuda", DeviceError, 'device="cpu"'),
        ("No Op registered for GroupX with domain_version of 1", "cpu", PackFileError, "update"),
        ("com.microsoft:X(-1) is not a registered function/op", "cpu", PackFileError, "update"),
        ("NOT_IMPLEMENTED : Could not find an implementation for X", "cpu", PackFileError, "lacks"),
        ("Unsupported model IR version: 99, max supported 11", "cpu", PackFileError, "lacks"),
        ("Protobuf parsing failed.", "cpu", PackFileError, "export the pack again"),
    ],
)
def test_loading(text: str, device: str, kind: type[EmbedgeError], remedy: str) -> None:
    error = loading_failure(GRAPH, RuntimeError(text), version="1.2.3", device=provider_of(device))
    assert type(error) is kind
    assert remedy in str(error)
    assert "g.onnx" in str(error)
    faults = ("Protobuf", "Op registered", "registered function", "NOT_IMPL", "Unsupported")
    assert ("export the pack" in str(error)) is any(fault in text for fault in faults)


@pytest.mark.parametrize(
    ("text", "device", "kind"),
    [
        ("bad allocation: std::bad_alloc", "cpu", MemoryLimitError),
        ("CUDA error: an illegal memory access", "cuda", DeviceError),
        ("indices element out of data bounds", "cpu", PackFileError),
    ],
)
def test_running(text: str, device: str, kind: type[EmbedgeError]) -> None:
    error = running_failure(
        GRAPH, "2 texts", RuntimeError(text), limits="x=", device=provider_of(device)
    )
    assert type(error) is kind
    assert "2 texts" in str(error)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "too many files"),
        (errno.ENOMEM, "memory"),
        (errno.EACCES, "permissions"),
        (errno.EIO, "disk"),
        (errno.ENOENT, "copy or export"),
    ],
)
def test_files(code: int, remedy: str) -> None:
    assert remedy in file_remedy(OSError(code, os.strerror(code)))
    assert ("export" in remedy) == ("export the pack" in file_remedy(OSError(code, "")))


# With a free descriptor or none, from loading on: what fails is never called a bad pack.
FEW_FILES = """
import os, resource, sys
from embedge import Embedder
with Embedder(sys.argv[1], threads=1) as embedder:
    embedder.load(embedder.tasks[0])
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for _ in range(int(sys.argv[2])):
        os.close(held.pop())
    try:
        embedder.encode("text", task=embedder.tasks[1])
    except Exception as error:
        for descriptor in held:
            os.close(descriptor)
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts Linux's descriptors")
@pytest.mark.parametrize("free", [0, 1])
def test_too_many_open_files(make_pack: Callable[..., Path], free: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FEW_FILES, make_pack(), str(free)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if free == 0:
        assert "Too many open files" in done.stdout
    if done.stdout:
        assert "ulimit -n" in done.stdout
        assert "export the pack again" not in done.stdout


def test_a_file_that_may_not_be_read(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: object, *arguments: int) -> int:
        if str(path).endswith("tokenizer.json"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    with (
        Embedder(pack) as embedder,
        pytest.raises(PackFileError, match="Permission denied; change the permissions"),
    ):
        embedder.encode("text")


def test_a_graph_for_another_runtime(pack: Path) -> None:
    import onnx

    path = pack / "text-matching.fp32.onnx"
    model = onnx.load(path, load_external_data=False)
    model.ir_version = 99
    path.write_bytes(model.SerializeToString())
    relist(pack, path.name)
    with (
        Embedder(pack) as embedder,
        pytest.raises(PackFileError, match=r"lacks what the graph needs.*update onnxruntime"),
    ):
        embedder.encode("text")
