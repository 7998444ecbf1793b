"""A server of S3's protocol on this machine, with one bucket, and `embedge bulk` on what it holds.

Not part of the suite: `make test-remote` makes an environment that has the server.
"""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from embedge.cli import main

BUCKET = "bucket"


@pytest.fixture(scope="session", autouse=True)
def server() -> Iterator[str]:
    """Its address, which all file systems of the session use."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://{host}:{port}",
        AWS_ACCESS_KEY_ID="name",
        AWS_SECRET_ACCESS_KEY="word",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
    )
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    yield os.environ["AWS_ENDPOINT_URL"]
    running.stop()


@pytest.fixture
def put() -> Callable[[str, bytes], str]:
    """`put(key, data)` writes an object, and gives its URI."""

    def write(key: str, data: bytes) -> str:
        boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=data)
        return f"s3://{BUCKET}/{key}"

    return write


@pytest.fixture
def bulk(pack: Path, tmp_path: Path) -> Callable[..., tuple[int, Path]]:
    """`bulk(INPUT…, "--flag", out="out")` runs the command: its exit code and the folder."""

    def run(*arguments: Any, out: str = "out") -> tuple[int, Path]:
        folder = tmp_path / out
        words = [str(argument) for argument in arguments]
        return main(["bulk", *words, "-p", str(pack), "--out", str(folder)]), folder

    return run
