"""transformers.js, and ONNX Runtime for Node, on hub folders."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from consumers.consumed import GRAPHS, LEAST, TEXTS, least_cosine, model

NODE = shutil.which("node")
# `make test-consumers` installs the packages there; a module finds them in folders above it.
PLACE = Path(os.environ.get("EMBEDGE_NODE_CONSUMERS", ".venv-consumers-node")).resolve()
DTYPES = {"fp32": "fp32", "fp16": "fp16", "int8": "q8"}  # as transformers.js calls them
POOLINGS = {"mean_tokens": "mean", "lasttoken": "last_token", "cls_token": "cls"}
PATIENCE = 120.0  # seconds


def run(name: str, precision: str, side: str) -> dict[str, Any]:
    """What the program finds for TEXTS as queries, by the way that was taken."""
    if NODE is None or not (PLACE / "node_modules/@huggingface/transformers").is_dir():
        pytest.skip("node or transformers.js is missing; `make test-consumers` says more")
    about = model(name)
    script = Path(shutil.copy(Path(__file__).with_name("consumer.mjs"), PLACE))
    texts = [about.prompt("query") + text for text in TEXTS]
    done = subprocess.run(
        [NODE, str(script), str(about.hub), DTYPES[precision], side],
        input=json.dumps({"texts": texts, "pooling": POOLINGS[about.pooling]}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("precision", GRAPHS)
@pytest.mark.parametrize(
    "name", ["small", "qwen3", "llama", "bert", "distilbert", "mpnet", "modernbert"]
)
def test_padding_on_the_left(name: str, precision: str) -> None:
    """`pooling: "last_token"` takes the last place, so it needs this side."""
    expected = model(name).expected("query", precision)
    for way, vectors in run(name, precision, "left").items():
        assert least_cosine(vectors, expected) >= LEAST[precision], way


@pytest.mark.parametrize("name", ["small", "bert", "xlm-roberta"])
def test_padding_on_the_right(name: str) -> None:
    """The graph's own vectors are right on either side; so is the mean of the pipeline."""
    about = model(name)
    found, expected = run(name, "fp32", "right"), about.expected("query")
    for way in ("model", "session"):
        assert least_cosine(found[way], expected) >= LEAST["fp32"], way
    if about.pooling == "lasttoken":  # rows of padding, which are 0
        assert not any(found["pipeline"][TEXTS.index(min(TEXTS, key=len))])
    else:
        assert least_cosine(found["pipeline"], expected) >= LEAST["fp32"]
