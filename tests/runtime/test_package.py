"""The package as a whole: what it exports, what importing it costs, which way its imports run."""

import builtins
import json
import os
import re
import socket
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path

import pytest

import embedge
from embedge import errors

RUNTIME = Path(embedge.__file__).parent


def python(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(RUNTIME.parent)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return result.stdout


def test_the_version_is_the_projects() -> None:
    assert embedge.__version__ == metadata.version("embedge")


def test_the_error_tree_is_the_one_its_docstring_draws() -> None:
    drawn = re.findall(r"(\w+Error)\b(?: \((\w+)\))?", errors.__doc__.split("EmbedgeError\n")[1])
    for name, builtin in drawn:
        error = getattr(errors, name)
        assert issubclass(error, errors.EmbedgeError)
        assert issubclass(error, getattr(builtins, builtin or "Exception"))
    assert {name for name, _ in drawn} | {"EmbedgeError"} == {
        name for name in vars(errors) if name.endswith("Error")
    }


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, json; {}; print(json.dumps(sorted(m.split('.')[0] for m in sys.modules)))"
    heavy = {"torch", "transformers", "onnxruntime", "onnx", "PIL", "tokenizers", "embedge_export"}
    alone = set(json.loads(python(code.format("import embedge"))))
    assert not alone & (heavy | {"numpy"})
    used = set(json.loads(python(code.format("from embedge import Embedder"))))
    assert not used & heavy


def test_importing_is_quick() -> None:
    code = (
        "import time; start = time.process_time(); import embedge; "
        "print(time.process_time() - start)"
    )
    assert min(float(python(code)) for _ in range(3)) < 0.15


def test_embedding_touches_nothing_global(pack: Path) -> None:
    code = f"""
import logging, os, warnings
import numpy  # adds filters of its own
before = dict(os.environ), list(warnings.filters), logging.root.level, list(logging.root.handlers)
from embedge import Embedder
with Embedder({str(pack)!r}) as embedder:
    embedder.encode(["a", "b"])
after = dict(os.environ), list(warnings.filters), logging.root.level, list(logging.root.handlers)
print(before == after)
"""
    assert python(code).strip() == "True"


def test_warnings_can_be_silenced_by_their_own_class() -> None:
    assert issubclass(embedge.TruncationWarning, UserWarning)
    assert issubclass(embedge.RangesWarning, UserWarning)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", embedge.RangesWarning)
        embedge.quantize([[0.0, 1.0]], "int8")


def test_the_tests_cannot_reach_the_network() -> None:
    with socket.socket() as connection, pytest.raises(RuntimeError, match="network"):
        connection.connect(("192.0.2.1", 80))


def test_the_old_spelling_still_works_for_one_release() -> None:
    with pytest.deprecated_call(match=r"is now embedge\.quantize"):
        assert embedge.quantise is embedge.quantize
