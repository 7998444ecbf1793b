"""`embedge serve` as a process of its own, with the bundled model, for clients that are not ours.

Not part of the suite: `make test-clients` makes an environment that has these clients, and runs
what stands here. Their vectors have to be the library's, bit for bit.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from clients.served import KEY
from embedge import Embedder

PATIENCE = 60.0  # seconds


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """Where the server listens; it asks for KEY, and takes lists of the model's token ids."""
    command = [sys.executable, "-m", "embedge", "serve", "--port", "0", "--accept-token-ids"]
    environment = {**os.environ, "EMBEDGE_API_KEY": KEY}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as server:
        try:
            assert server.stdout is not None
            address: str = json.loads(server.stdout.readline())["url"]
            wait_until_ready(address)
            yield address
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE) == 0


def wait_until_ready(url: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"{url}/ready"):
                return
        except urllib.error.HTTPError:
            assert time.monotonic() < end, "the server is not ready"
            time.sleep(0.05)


@pytest.fixture(scope="session")
def library() -> Iterator[Embedder]:
    with Embedder() as embedder:
        yield embedder


@pytest.fixture(scope="session")
def same() -> Callable[[Any, Any], bool]:
    """Whether vectors that a client gives are those of the library, as float32, bit for bit."""

    def compare(found: Any, expected: Any) -> bool:
        found, expected = np.asarray(found, np.float32), np.asarray(expected, np.float32)
        return found.shape == expected.shape and found.tobytes() == expected.tobytes()

    return compare
