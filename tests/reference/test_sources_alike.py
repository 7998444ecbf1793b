"""However a checkpoint is cut or its keys are spelt, the pack's graphs and data are the same."""

import hashlib

import pytest

import seeded
from embedge_export.export import export_pack

FORMS = {"3 shards": {"shards": 3}, "prefix": {"prefix": "model."}, "one file": {}}


def digests(source, out):
    """sha256 of every graph and data file of the pack."""
    manifest = export_pack(source, out=out, precisions=("fp32", "fp16", "int8"))
    assert len(manifest.graphs) == 3 * len(seeded.TASKS)
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.iterdir())
        if path.suffix in (".onnx", ".data")
    }


@pytest.fixture(scope="module")
def expected(sources):
    source = seeded.write_v5_text_small(sources / "alike")
    return digests(source, sources / "alike-pack")


@pytest.mark.parametrize("form", list(FORMS))
def test_bytes(expected, form, tmp_path):
    source = seeded.write_v5_text_small(tmp_path / "source", **FORMS[form])
    assert digests(source, tmp_path / "pack") == expected


def test_another_seed_is_another_model(expected, tmp_path):
    source = seeded.write_v5_text_small(tmp_path / "source", seed=1)
    found = digests(source, tmp_path / "pack")
    assert found.keys() == expected.keys()
    data = [name for name in expected if name.endswith(".data")]
    assert all(found[name] != expected[name] for name in data)
