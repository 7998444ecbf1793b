"""What the benchmark runs: a model, embedge's pack of it, the peers' forms of the same weights.

Everything is made once, under the git-ignored folder `bench/`, and kept: a full-size model with
seeded weights, its pack, its merged retrieval folder, and for each peer a virtual environment.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TASK = "retrieval"
# torch is named exactly and first, so that what follows takes it as it is.
TORCH = ["torch==2.13.0"]
ENVIRONMENTS = {
    "torch": [TORCH, ["torch==2.13.0", "transformers>=5,<6"]],
    # optimum-onnx pins transformers below 4.58, so it cannot share torch's environment.
    "optimum": [TORCH, ["torch==2.13.0", "optimum-onnx[onnxruntime]==0.1.0"]],
}
OPTIMUM_EXPORT = """
import sys
from optimum.exporters.onnx import main_export
main_export(sys.argv[1], output=sys.argv[2], task="feature-extraction", device="cpu")
"""
# Optimum's own dynamic recipe for CPUs without VNNI, and with it.
OPTIMUM_QUANTISE = """
import sys
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig
make = getattr(AutoQuantizationConfig, sys.argv[3])
quantizer = ORTQuantizer.from_pretrained(sys.argv[1], file_name="model.onnx")
config = make(is_static=False, per_channel=False)
quantizer.quantize(save_dir=sys.argv[2], quantization_config=config)
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """One line of the table: which Python runs which kind of worker on which file."""

    name: str
    python: Path
    kind: str
    path: Path


def prepare(
    folder: Path, source: Path | None, wanted: list[str], *, vnni: bool
) -> tuple[list[Contender], int]:
    """Makes what is missing; gives the contenders and the size of the vocabulary.

    Args:
        folder: where everything is kept.
        source: a model folder; the seeded full-size model if None.
        wanted: names of contenders.
        vnni: whether this CPU has VNNI instructions: it decides Optimum's recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if source is None:
        source = seeded_source(folder)
    pack, merged, graphs = folder / "pack", folder / "merged", folder / "optimum"
    embedge = [sys.executable, "-m", "embedge", "export", source, "--no-progress"]
    _run([*embedge, "--out", pack, "--tasks", TASK, "--precisions", "fp32,int8"])
    if not merged.exists():
        _run([*embedge, "--out", pack, "--tasks", TASK, "--merged", merged, "--precisions", "int8"])
    made = [
        Contender("embedge int8", Path(sys.executable), "embedge", pack / f"{TASK}.int8.onnx"),
        Contender("embedge fp32", Path(sys.executable), "embedge", pack / f"{TASK}.fp32.onnx"),
    ]
    if any(name.startswith("torch") for name in wanted):
        python = _environment(folder, "torch")
        made += [
            Contender(f"torch {short}", python, f"torch-{dtype}", merged / TASK)
            for short, dtype in (("fp32", "float32"), ("bf16", "bfloat16"))
        ]
    if any(name.startswith("Optimum") for name in wanted):
        python = _environment(folder, "optimum")
        if not (graphs / "model.onnx").exists():
            _run([python, "-c", OPTIMUM_EXPORT, merged / TASK, graphs])
        recipe = "avx512_vnni" if vnni else "avx2"
        quantised = folder / f"optimum-{recipe}"
        if not (quantised / "model_quantized.onnx").exists():
            _run([python, "-c", OPTIMUM_QUANTISE, graphs, quantised, recipe])
        made += [
            Contender("Optimum fp32", python, "onnx", graphs / "model.onnx"),
            Contender("Optimum int8", python, "onnx", quantised / "model_quantized.onnx"),
        ]
    vocabulary = json.loads((source / "config.json").read_text())["vocab_size"]
    made.sort(key=lambda contender: wanted.index(contender.name) if contender.name in wanted else 0)
    return [contender for contender in made if contender.name in wanted], vocabulary


def seeded_source(folder: Path) -> Path:
    """The seeded model of full size in `folder`, made once."""
    source = folder / "v5-text-small"
    if not source.exists():
        tokenizer = folder / "tokenizer.json"
        _run([sys.executable, ROOT / "models/tokenizer.py", tokenizer])
        seeded = [sys.executable, ROOT / "models/seeded", source, "--model", "v5-text-small"]
        _run([*seeded, "--size", "full", "--tokenizer", tokenizer, "--seed", "0"])
    return source


def _environment(folder: Path, name: str) -> Path:
    """A virtual environment, made once; its Python."""
    place = folder / f"venv-{name}"
    stamp = place / "complete"
    python = place / "bin" / "python"
    if not stamp.exists():
        _run([sys.executable, "-m", "venv", place])
        for packages in ENVIRONMENTS[name]:
            _run([python, "-m", "pip", "install", "--quiet", *packages])
        stamp.touch()
    return python


def _run(command: list[str | Path]) -> None:
    start = time.monotonic()
    shown = " ".join(str(part) for part in command if "\n" not in str(part))
    print(f"  {shown[:150]}", file=sys.stderr, flush=True)
    subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr)
    print(f"  took {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
