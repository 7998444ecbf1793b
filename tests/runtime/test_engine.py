import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from embedge.engine import kernels, loading
from embedge.engine.providers.cpu import attends_in_blocks
from embedge.engine.providers.cuda import Cuda
from embedge.engine.session import OnnxSession
from embedge.errors import (
    CancelledError,
    DeviceError,
    MemoryLimitError,
    MissingExtraError,
    PackFileError,
)
from support.slow_graph import slow_graph
from support.tiny import write_graph

CACHED = (loading.load_runtime, kernels.integer_kernel)


@pytest.fixture
def _fresh() -> Iterator[None]:
    """Forgets what is found out once a process, before and after the test."""
    for function in CACHED:
        function.cache_clear()
    yield
    for function in CACHED:
        function.cache_clear()


def ids(rows: int, length: int) -> tuple[Any, Any]:
    return np.full((rows, length), 2, np.int64), np.ones((rows, length), np.int64)


def test_a_session_gives_the_pooled_vectors(tmp_path: Path) -> None:
    write_graph(tmp_path, "g.onnx", constant=[0, 0, 7, 0, 0, 0, 0, 0])
    session = OnnxSession(tmp_path / "g.onnx", device="cpu", threads=1)
    input_ids, mask = ids(2, 3)
    mask[1, 2] = 0
    vectors = session.run(input_ids, mask)
    assert vectors.tolist() == [[6, 3, 7, 0, 0, 0, 0, 0], [4, 2, 7, 0, 0, 0, 0, 0]]
    assert vectors.dtype == np.float32


def test_threads_and_patterns_are_set_explicitly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_graph(tmp_path, "g.onnx", constant=[0.0] * 8)
    runtime = loading.load_runtime()
    seen = []

    def spy(graph: str, options: Any, **rest: Any) -> Any:
        seen.append((options, rest))
        return original(graph, options, **rest)

    kernels.integer_kernel()
    original = runtime.InferenceSession
    monkeypatch.setattr(runtime, "InferenceSession", spy)
    OnnxSession(tmp_path / "g.onnx", device="cpu", threads=3)
    ((options, rest),) = seen
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.enable_mem_pattern is False
    assert rest == {"providers": ["CPUExecutionProvider"]}


@pytest.mark.skipif(
    [int(part) for part in loading.load_runtime().__version__.split(".")[:2]] < [1, 32],
    reason="tried on 1.32; older versions may not know the setting",
)
def test_threads_sleep_soon_after_a_run(tmp_path: Path) -> None:
    """The CPU time of a process that ran a graph and now waits."""
    slow_graph(tmp_path / "g.onnx", turns=4)
    code = f"""
import time
import numpy as np
from pathlib import Path
from embedge.engine.session import OnnxSession
session = OnnxSession(Path({str(tmp_path / "g.onnx")!r}), device="cpu", threads=2)
idle = []
for _ in range(8):
    session.run(np.ones((1, 2), np.int64), np.ones((1, 2), np.int64))
    start = time.process_time()
    time.sleep(0.06)
    idle.append(time.process_time() - start)
print(min(idle))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 0.005  # seconds; ONNX Runtime's own way takes 0.011 and more


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_run_gives_its_memory_back_unless_the_pool_is_kept(tmp_path: Path) -> None:
    write_graph(tmp_path, "g.onnx", constant=[0.0] * 8)
    code = f"""
import re, sys
from pathlib import Path
import numpy as np
from embedge.engine.session import OnnxSession
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
session = OnnxSession(Path({str(tmp_path / "g.onnx")!r}), device="cpu", threads=1,
                      arena=sys.argv[1] == "keep")
ids = np.ones((1, 8 * 2**20), np.int64)  # 64 MB; the graph's buffers take as much and more
session.run(ids[:, :8], ids[:, :8])
before = resident()
session.run(ids, ids, keep=sys.argv[1] != "return")
if sys.argv[1] == "free":
    session.free()
print(resident() - before)
"""
    growth = {
        policy: float(
            subprocess.run(
                [sys.executable, "-c", code, policy], capture_output=True, text=True, check=True
            ).stdout
        )
        for policy in ("keep", "keep once", "return", "free")
    }
    assert growth["keep"] > 60
    assert growth["keep once"] > 60
    assert growth["return"] < 20
    assert growth["free"] < 20


def test_cancel_stops_a_run_in_its_middle_and_the_session_lives_on(tmp_path: Path) -> None:
    slow_graph(tmp_path / "slow.onnx", turns=10**7)  # hours, if it were not stopped
    session = OnnxSession(tmp_path / "slow.onnx", device="cpu", threads=1)
    for _ in range(2):  # the second time shows that nothing of the first stays behind
        cancel = threading.Event()
        threading.Timer(0.1, cancel.set).start()
        start = time.monotonic()
        with pytest.raises(CancelledError):
            session.run(*ids(1, 2), cancel=cancel)
        assert 0.05 < time.monotonic() - start < 10


def test_cancelling_one_run_leaves_another_alone(tmp_path: Path) -> None:
    slow_graph(tmp_path / "slow.onnx", turns=1000)
    session = OnnxSession(tmp_path / "slow.onnx", device="cpu", threads=1)
    cancelled, other = threading.Event(), threading.Event()
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(session.run(*ids(1, 2), cancel=other)))
    thread.start()
    threading.Timer(0.05, cancelled.set).start()
    with pytest.raises(CancelledError):
        session.run(*ids(1, 2), cancel=cancelled)
    thread.join()
    assert results[0].tolist() == [[4, 4]]


@pytest.mark.usefixtures("_fresh")
def test_without_cancel_no_thread_is_started_and_with_it_none_stays(tmp_path: Path) -> None:
    write_graph(tmp_path, "g.onnx", constant=[0.0] * 8)
    session = OnnxSession(tmp_path / "g.onnx", device="cpu", threads=1)

    def watchers() -> int:
        return sum(thread.name == "embedge-cancel" for thread in threading.enumerate())

    def all_end() -> bool:
        deadline = time.monotonic() + 5
        while watchers() and time.monotonic() < deadline:
            time.sleep(0.01)
        return watchers() == 0

    assert all_end()  # those of earlier tests
    session.run(*ids(1, 2))
    assert watchers() == 0
    for _ in range(50):
        session.run(*ids(1, 2), cancel=threading.Event())
    assert watchers() <= 2  # one that is ending may be counted beside the one that works
    assert all_end()


def test_the_embedded_probe_is_what_its_comment_says() -> None:
    weights = np.full((64, 16), 127, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "w", "a_zero", "w_zero"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, ["m", 64])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["m", 16])],
        [
            helper.make_tensor("w", TensorProto.INT8, [64, 16], weights.tobytes(), raw=True),
            helper.make_tensor("a_zero", TensorProto.UINT8, [], b"\0", raw=True),
            helper.make_tensor("w_zero", TensorProto.INT8, [], b"\0", raw=True),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    assert onnx.load_from_string(kernels.PROBE) == model
    assert int(255 * weights[:, 0].astype(int).sum()) == kernels.PROBE_ANSWER
    assert 2 * 255 * 127 > 2**15 - 1  # a pair of products overflows 16 bits


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize(
    ("plain", "with_option", "value"),
    [
        (True, True, kernels.EXACT),
        (False, True, kernels.EXACT_BY_OPTION),
        (False, False, kernels.INEXACT),
    ],
)
def test_the_kernel_is_chosen_by_what_the_cpu_gives(
    monkeypatch: pytest.MonkeyPatch, plain: bool, with_option: bool, value: str
) -> None:
    monkeypatch.setattr(
        kernels, "_probe", lambda *, exact_option: with_option if exact_option else plain
    )
    assert kernels.integer_kernel().value == value


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Exception during initialization: std::bad_alloc", MemoryLimitError),
        ("Failed to allocate memory for requested buffer of size 1024", MemoryLimitError),
        ("Unsupported model IR version: 9", DeviceError),
    ],
)
def test_a_failure_to_open_is_named_for_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, kind: type[Exception]
) -> None:
    write_graph(tmp_path, "g.onnx", constant=[0.0] * 8)

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError(message)

    kernels.integer_kernel()  # which options a session takes
    monkeypatch.setattr(loading.load_runtime(), "InferenceSession", fail)
    with pytest.raises(kind, match=message):
        kernels._probe(exact_option=False)
    with pytest.raises(MemoryLimitError if kind is MemoryLimitError else PackFileError):
        OnnxSession(tmp_path / "g.onnx", device="cpu", threads=1)


@pytest.mark.usefixtures("_fresh")
def test_sessions_are_exact_on_this_cpu(tmp_path: Path) -> None:
    """The int8 path as packs use it, on the values that overflow, through OnnxSession itself."""
    weights = np.full((64, 8), 127, np.int8)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["input_ids"], ["u"], to=TensorProto.UINT8),
            helper.make_node(
                "MatMulIntegerToFloat",
                ["u", "w", "one", "ones", "u_zero", "w_zero"],
                ["y"],
                domain="com.microsoft",
            ),
            helper.make_node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMin", ["m"], ["low"], keepdims=0),
            helper.make_node("Mul", ["y", "low"], ["sentence_embedding"]),
        ],
        "int8",
        [
            helper.make_tensor_value_info(label, TensorProto.INT64, ["batch", 64])
            for label in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", 8])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array(1, np.float32), "one"),
            numpy_helper.from_array(np.ones(8, np.float32), "ones"),
            numpy_helper.from_array(np.array(0, np.uint8), "u_zero"),
            numpy_helper.from_array(np.zeros(8, np.int8), "w_zero"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    path = tmp_path / "int8.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    )
    session = OnnxSession(path, device="cpu", threads=1)
    input_ids, mask = np.full((3, 64), 255, np.int64), np.ones((3, 64), np.int64)
    assert (session.run(input_ids, mask) == 64 * 255 * 127).all()


def test_a_graph_that_cannot_be_loaded_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"\x08\x09 this is no graph")
    with pytest.raises(PackFileError, match=r"g\.onnx cannot be loaded.*embedge verify"):
        OnnxSession(tmp_path / "g.onnx", device="cpu", threads=1)


def test_a_graph_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(kernels.PROBE)
    with pytest.raises(PackFileError, match=r"takes \['a'\] and gives \['y'\]"):
        OnnxSession(tmp_path / "g.onnx", device="cpu", threads=1)


@pytest.mark.parametrize(
    ("version", "blocks"),
    [
        *(("1.23.2", False), ("1.27.1", False), ("1.28.0", True), ("1.31.1", True)),
        *(("1.28.0.dev20260701001", True), ("1.100.0", True), ("2.0.0", True), ("2.9", True)),
        *(("0.99.0", False), ("unknown", False)),  # who does not say is taken for an old one
    ],
)
def test_attention_in_blocks_is_a_matter_of_the_version(
    monkeypatch: pytest.MonkeyPatch, version: str, blocks: bool
) -> None:
    fake = SimpleNamespace(__version__=version)
    monkeypatch.setattr(loading, "load_runtime", lambda: fake)
    assert attends_in_blocks() is blocks


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's VmHWM")
def test_this_onnxruntime_attends_as_its_version_says(tmp_path: Path) -> None:
    """The peak memory of one GroupQueryAttention, in a process of its own."""
    heads, kv_heads, size, length = 16, 8, 128, 2048
    widths = {"q": heads * size, "k": kv_heads * size, "v": kv_heads * size}
    graph = helper.make_graph(
        [
            helper.make_node(
                "GroupQueryAttention",
                ["q", "k", "v", "", "", "last", "total"],
                ["y", "present_k", "present_v"],  # named but not used, as the exporter does
                domain="com.microsoft",
                num_heads=heads,
                kv_num_heads=kv_heads,
            )
        ],
        "attention",
        [
            *(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, length, width])
                for name, width in widths.items()
            ),
            *(helper.make_tensor_value_info(n, TensorProto.INT32, [1]) for n in ("last", "total")),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, length, heads * size])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    path = tmp_path / "attention.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    )
    code = f"""
import re
from pathlib import Path
import numpy as np
import onnxruntime
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.enable_cpu_mem_arena = False
session = onnxruntime.InferenceSession({str(path)!r}, options)
feeds = {{n: np.ones((1, {length}, w), np.float32) for n, w in {widths!r}.items()}}
feeds |= {{"last": np.array([{length - 1}], np.int32), "total": np.array([{length}], np.int32)}}
before = peak()
session.run(["y"], feeds)
print(peak() - before)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    square = 4 * heads * length**2  # bytes
    if attends_in_blocks():
        assert int(result.stdout) < square / 2
    else:
        assert int(result.stdout) > square


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("Failed to allocate memory for requested buffer of size 9", MemoryLimitError),
        ("std::bad_alloc", MemoryLimitError),
        ("CUDA out of memory", MemoryLimitError),
        ("index out of range", PackFileError),
    ],
)
def test_failures_of_a_run_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, error: type[Exception]
) -> None:
    write_graph(tmp_path, "g.onnx", constant=[0.0] * 8)
    session = OnnxSession(tmp_path / "g.onnx", device="cpu", threads=1)

    def fail(*_: Any) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(session, "_session", SimpleNamespace(run=fail))
    with pytest.raises(error, match="2 texts of 5 tokens"):
        session.run(*ids(2, 5))


def test_a_forked_child_is_refused_a_network_on_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_graph(tmp_path, "g.onnx", constant=[0.0] * 8)
    session = OnnxSession(tmp_path / "g.onnx", device="cpu", threads=1)
    expected = session.run(*ids(2, 5))
    process = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: process + 1)
    assert np.array_equal(session.run(*ids(2, 5)), expected)  # the CPU's work there
    monkeypatch.setattr(session, "_provider", Cuda())
    with pytest.raises(DeviceError, match=r'g\.onnx was loaded onto.*get_context\("spawn"\)'):
        session.run(*ids(2, 5))


def test_a_session_that_fell_back_to_the_cpu_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_graph(tmp_path, "g.onnx", constant=[0.0] * 8)
    monkeypatch.setattr(Cuda, "place", lambda *_, **__: [loading.CPU])
    with pytest.raises(DeviceError, match=r"g\.onnx was loaded without CUDA.*embedge doctor"):
        OnnxSession(tmp_path / "g.onnx", device="cuda", threads=1)


@pytest.mark.usefixtures("_fresh")
def test_without_onnxruntime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # The import system's own way to say that there is no such module.
    monkeypatch.setattr(sys, "meta_path", [_Without(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(MissingExtraError, match=r"embedge\[cpu\].*embedge\[gpu\]") as caught:
        loading.load_runtime()
    assert isinstance(caught.value, ImportError)


class _Without:
    def find_spec(self, name: str, *_: Any) -> None:
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")


@pytest.mark.usefixtures("_fresh")
def test_an_empty_shell_of_onnxruntime_is_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    with pytest.raises(MissingExtraError, match="shell"):
        loading.load_runtime()


@pytest.mark.usefixtures("_fresh")
def test_telemetry_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    fake = SimpleNamespace(
        InferenceSession=object, disable_telemetry_events=lambda: called.append(True)
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    assert loading.load_runtime() is fake
    assert called == [True]
