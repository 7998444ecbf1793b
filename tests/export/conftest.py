"""Tiny models in the v5 models' exact layouts, and their packs, made once for all tests."""

from pathlib import Path

import pytest

import seeded
from embedge_export.export import export_pack
from embedge_export.model import Model, open_model
from embedge_export.source.folder import open_source


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "v5-tiny"
    seeded.write_v5_text_small(folder, size="tiny", seed=7)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_source: Path) -> Model:
    return open_model(open_source(tiny_source))


@pytest.fixture(scope="session")
def tiny_pack(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tasks in all precisions. Tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("packs") / "v5-tiny"
    export_pack(tiny_source, out=folder, precisions=("fp32", "fp16", "int8"))
    return folder


@pytest.fixture(scope="session")
def nano_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "nano-tiny"
    return seeded.write_v5_text_nano(folder, size="tiny", seed=7)


@pytest.fixture(scope="session")
def nano_pack(nano_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As tiny_pack."""
    folder = tmp_path_factory.mktemp("packs") / "nano-tiny"
    export_pack(nano_source, out=folder, precisions=("fp32", "fp16", "int8"))
    return folder
