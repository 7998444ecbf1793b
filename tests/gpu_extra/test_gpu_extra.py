"""embedge with onnxruntime-gpu instead of onnxruntime: `make test-gpu-extra` installs it.

The first tests run on a machine without a GPU and prove that nothing is pretended there; the
last ones run where a CUDA device is at hand.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import seeded
from embedge import Embedder
from embedge.engine.loading import installed_distributions
from embedge.engine.providers.cuda import NAME, cuda_problem
from embedge.errors import DeviceError
from embedge_export.export import export_pack

TEXTS = [
    "sunset",
    "Ein Zug fährt nach Hamburg.",
    "def mean(values): ...",
    "春になると桜が咲く。" * 30,
]

without_cuda = pytest.mark.skipif(cuda_problem() is None, reason="a CUDA device is at hand")
with_cuda = pytest.mark.skipif(cuda_problem() is not None, reason=f"no CUDA: {cuda_problem()}")


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    seeded.write_v5_text_small(folder / "source", size="tiny", seed=7)
    export_pack(folder / "source", out=folder / "pack", precisions=("fp32", "fp16", "int8"))
    return folder / "pack"


def test_the_gpu_distribution_is_the_one_installed():
    assert installed_distributions() == ["onnxruntime-gpu"]
    assert NAME in onnxruntime.get_available_providers()


@without_cuda
def test_auto_runs_on_the_cpu_and_says_why(pack):
    with Embedder(pack, device="auto") as embedder:
        assert embedder.device == "cpu"
        assert embedder.precision == "int8"
        assert "CUDA" in embedder.choices["device"].reason
        assert "driver" in embedder.choices["device"].reason
        assert embedder.encode(TEXTS).shape == (len(TEXTS), embedder.dimension)


@without_cuda
def test_cuda_is_refused_with_the_reason(pack):
    with pytest.raises(DeviceError, match=r"CUDA provider .* does not load.*driver"):
        Embedder(pack, device="cuda")


@with_cuda
@pytest.mark.parametrize("task", ["retrieval", "clustering"])
def test_fp16_on_cuda_agrees_with_fp32(pack, task):
    with Embedder(pack, device="cuda") as cuda, Embedder(pack, precision="fp32") as cpu:
        assert (cuda.device, cuda.precision) == ("cuda", "fp16")
        cosines = np.sum(cuda.encode(TEXTS, task=task) * cpu.encode(TEXTS, task=task), axis=1)
    assert cosines.min() >= 0.9999
