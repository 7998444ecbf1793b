"""The npm package `openai` under node, pointed at the server."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.served import KEY, MODEL, TEXTS
from embedge import Embedder

NODE = shutil.which("node")
# `make test-clients` installs the package there; a module finds packages in folders above it.
PLACE = Path(os.environ.get("EMBEDGE_NODE_CLIENTS", ".venv-clients-node")).resolve()
PATIENCE = 60.0  # seconds


@pytest.fixture
def script() -> Path:
    """The client, copied to where its package is found."""
    if NODE is None or not (PLACE / "node_modules" / "openai").is_dir():
        pytest.skip("node, or its package openai, is missing; `make test-clients` says more")
    name = "openai_client.mjs"
    return Path(shutil.copy(Path(__file__).with_name(name), PLACE / name))


def test_openai_for_node(
    url: str, library: Embedder, same: Callable[[Any, Any], bool], script: Path
) -> None:
    assert NODE is not None
    command = [NODE, str(script), url, KEY, MODEL, *TEXTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    found = json.loads(done.stdout)
    expected = library.encode(TEXTS)
    assert same(found["default"], expected)
    assert same(found["float"], expected)
    rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in found["base64"]]
    assert same(rows, expected)
    assert found["error"]["status"] == 400
    assert "empty string" in found["error"]["message"]
