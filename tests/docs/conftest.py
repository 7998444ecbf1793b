"""The bundled pack, on which the documentation's code runs."""

from pathlib import Path

import pytest

import seeded
from embedge import read_manifest
from embedge.errors import PackError
from embedge.pack.files import default_folder


@pytest.fixture(scope="session")
def bundled() -> Path:
    """embedge-mini's folder: examples count on its tasks, its width, and what it finds alike."""
    try:
        folder = default_folder()
    except PackError:
        pytest.skip("there is no default pack; `make default` makes it")
    if read_manifest(folder).model_id != "embedge-mini":
        pytest.skip("another model is bundled than embedge-mini")
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny decoder without adapters, as a folder in the Hugging Face layout."""
    folder = tmp_path_factory.mktemp("models") / "my-model"
    return seeded.write_decoder(folder, "qwen3", size="tiny", seed=7)
