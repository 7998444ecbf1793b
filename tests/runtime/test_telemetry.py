"""ONNX Runtime's usage reports are kept off, and nobody's environment is changed for good."""

import ast
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

import embedge
from embedge.cli.commands import doctor
from embedge.engine import loading, telemetry
from embedge.errors import MissingExtraError

VARIABLE = telemetry.VARIABLE
ROOT = Path(embedge.__file__).parents[2]


@pytest.mark.parametrize("before", [None, "", "0", "1", "anything"])
@pytest.mark.parametrize("failing", [False, True])
def test_the_variable_is_set_for_the_import_alone(monkeypatch, before, failing):
    monkeypatch.delenv(VARIABLE, raising=False)
    if before is not None:
        monkeypatch.setenv(VARIABLE, before)
    environment = dict(os.environ)
    with contextlib.suppress(ZeroDivisionError), telemetry.kept_off():
        assert os.environ[VARIABLE] == "1"
        with telemetry.kept_off():  # an import hook that comes back to us
            assert os.environ[VARIABLE] == "1"
        assert os.environ[VARIABLE] == "1"
        1 / (not failing)
    assert dict(os.environ) == environment


def test_what_the_host_sets_meanwhile_stays(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with telemetry.kept_off():
        os.environ[VARIABLE] = "0"
    assert os.environ[VARIABLE] == "0"
    with telemetry.kept_off():
        del os.environ[VARIABLE]
    assert VARIABLE not in os.environ


def test_threads_that_import_at_once_restore_it_once(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    start = threading.Barrier(8)
    seen = []

    def work():
        start.wait()
        for _ in range(50):
            with telemetry.kept_off():
                seen.append(os.environ.get(VARIABLE))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {"1"}
    assert VARIABLE not in os.environ


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_during_the_import_has_the_environment_of_before():
    code = f"""
import os, sys, threading, warnings
warnings.simplefilter("ignore")  # newer Pythons warn of a fork beside threads
from embedge.engine import telemetry
os.environ.pop({VARIABLE!r}, None)
inside, leave = threading.Event(), threading.Event()
def work():
    with telemetry.kept_off():
        inside.set()
        leave.wait()
thread = threading.Thread(target=work)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    gone = {VARIABLE!r} not in os.environ
    with telemetry.kept_off():  # would wait for ever for a thread that is not here
        on = os.environ[{VARIABLE!r}]
    os._exit(0 if gone and on == "1" and {VARIABLE!r} not in os.environ else 1)
status = os.waitpid(child, 0)[1]
leave.set()
thread.join()
sys.exit(os.waitstatus_to_exitcode(status) or int({VARIABLE!r} in os.environ))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_failed_import_leaves_the_environment_alone(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # Python's way to forbid an import
    loading.load_runtime.cache_clear()
    try:
        with pytest.raises(MissingExtraError):
            loading.load_runtime()
    finally:
        loading.load_runtime.cache_clear()
    assert VARIABLE not in os.environ


def test_the_host_that_imports_it_first_is_noticed():
    code = """
import sys, types
runtime = types.ModuleType("onnxruntime")
runtime.InferenceSession, calls = object, []
runtime.disable_telemetry_events = lambda: calls.append("off")
sys.modules["onnxruntime"] = runtime
from embedge.engine import loading, telemetry
loading.load_runtime()
loading.load_runtime()
print(telemetry.was_imported_by_host(), calls)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True ['off']\n"


def test_our_own_import_is_not_the_hosts():
    code = """
from embedge.engine import loading, telemetry
print(telemetry.was_imported_by_host())
loading.load_runtime()
loading.load_runtime.cache_clear()
loading.load_runtime()
print(telemetry.was_imported_by_host())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nFalse\n"


@pytest.mark.parametrize(
    ("host", "value", "version", "platform", "expected"),
    [
        (False, None, (1, 32), "linux", "off"),
        (True, None, (1, 32), "linux", "not known"),
        (True, "0", (1, 29), "darwin", "not known"),
        (True, "1", (1, 32), "linux", "off"),
        (True, None, (1, 28), "linux", "off"),
        (True, None, (1, 28), "win32", "not known"),
    ],
)
def test_doctor_says_what_is_known(monkeypatch, host, value, version, platform, expected):
    monkeypatch.setattr(telemetry, "was_imported_by_host", lambda: host)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    finding = doctor._usage_reports(version)
    assert finding.value == expected
    if expected == "off":
        assert finding.problem is None
    else:
        assert f"set {VARIABLE}=1 in the environment" in finding.problem


def test_switching_off_is_left_out_where_there_is_no_switch():
    telemetry.switch_off(ModuleType("onnxruntime"))


def test_onnxruntime_is_imported_through_one_door():
    """Any other import in the tree would send reports; the tests set the variable themselves."""
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("not in a checkout")
    doors = []
    for top in ("runtime", "export", "models", "tests/bench"):
        for path in (ROOT / top).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
            guarded = {
                inner
                for node in ast.walk(tree)
                if isinstance(node, ast.With)
                and ast.unparse(node.items[0]) == "telemetry.kept_off()"
                for inner in ast.walk(node)
            }
            for node in ast.walk(tree):
                if not _imports_onnxruntime(node):
                    continue
                name = path.relative_to(ROOT).as_posix()
                if node in guarded:
                    doors.append(name)
                    continue
                # A benchmark is a program of its own: it sets the variable, or uses the door.
                before = source.splitlines()[: node.lineno]
                assert top == "tests/bench", f"{name}:{node.lineno}"
                assert any(f'environ["{VARIABLE}"] = "1"' in line for line in before) or any(
                    line.strip().startswith("load_runtime()") for line in before
                ), f"{name}:{node.lineno}"
    assert doors == ["runtime/embedge/engine/loading.py"]
    assert f'environ["{VARIABLE}"] = "1"' in (ROOT / "tests" / "conftest.py").read_text("utf-8")


def _imports_onnxruntime(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] == "onnxruntime" for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] == "onnxruntime"
    return (
        isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__")
        and bool(node.args)
        and isinstance(node.args[0], ast.Constant)
        and str(node.args[0].value).split(".")[0] == "onnxruntime"
    )
