"""One source gives the same graphs and weights on every CPU: tried with other kernels of NumPy.

Each variant is a process of its own: a BLAS and NumPy choose their kernels when they are loaded.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import seeded

PROGRAM = """
import sys
from pathlib import Path
from embedge_export.export import export_pack

for source in sys.argv[2:]:
    out = Path(sys.argv[1]) / Path(source).name
    export_pack(source, out=out, precisions=["fp32", "fp16", "int8", "int4"], accept_failures=True)
"""
# What an AVX2 laptop, a server with AVX-512 and a CPU with neither take by themselves. Names that
# a BLAS does not know, or a CPU that lacks the instructions, leave its own choice in place.
VARIANTS = {
    "haswell": {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "AVX512F"},
    "skylake": {"OPENBLAS_CORETYPE": "SkylakeX", "OPENBLAS_NUM_THREADS": "1"},
    "prescott": {
        "OPENBLAS_CORETYPE": "Prescott",
        "NPY_DISABLE_CPU_FEATURES": "AVX2,FMA3,AVX512F,AVX512_SKX",
    },
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sources")
    # 96 = 3 x 32 wide: the rotation has a factor of its own for what is no power of two.
    odd = seeded.Dimensions(
        hidden=96, layers=2, heads=4, kv_heads=2, head_dim=32, intermediate=160, rank=4
    )
    return [
        seeded.write_v5_text_small(folder / "decoder", size=odd, seed=1),
        seeded.write_jina_clip(folder / "towers", seed=2),
    ]


def exported(sources: list[Path], out: Path, settings: dict[str, str]) -> dict[str, str]:
    """The hash of every graph and data file."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(out), *map(str, sources)],
        env=environment | settings,
        check=True,
    )
    files = [*out.glob("*/*.onnx"), *out.glob("*/*.data")]
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
    }


def test_graphs_and_weights_are_the_same_bytes_with_other_kernels(sources, tmp_path):
    first, *others = (
        exported(sources, tmp_path / name, settings) for name, settings in VARIANTS.items()
    )
    assert len(first) > 20
    for other in others:
        assert json.dumps(other, indent=0) == json.dumps(first, indent=0)
