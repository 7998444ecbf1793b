"""The OpenAPI document against the server that it describes, by schemathesis.

One check is left out: that what fits the document is accepted. The names of tasks, prompts and
models belong to the packs, and an empty text is refused by some protocols; the document says
neither. A request that the server fails at, an answer that is not as the document says, and a
request that it accepts though the document forbids it, are all found.
"""

import subprocess
import sys
from pathlib import Path

from clients.served import KEY

PATIENCE = 600.0  # seconds


def test_schemathesis_finds_nothing(url: str, tmp_path: Path) -> None:
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"),
        *("--header", f"Authorization: Bearer {KEY}"),
        *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
        *("--max-examples", "40", "--seed", "1", "--no-color"),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout[-10_000:]
