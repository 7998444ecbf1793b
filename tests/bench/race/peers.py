"""What the benchmark runs: a model, embedge's pack of it, the peers' forms of the same weights.

Everything is made once, under the git-ignored folder `bench/`, and kept: a model with seeded
weights, its packs, its merged retrieval folder, and for each peer a virtual environment. A peer
that cannot be had is left out, and the reason is told; embedge itself must succeed.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import places

KINDS = ("v5-text-small", "v5-text-nano")
TASK = "retrieval"
# torch is named exactly and first, so that what follows takes it as it is.
TORCH = ["torch==2.13.0"]
ENVIRONMENTS = {
    "torch": [TORCH, ["torch==2.13.0", "transformers>=5,<6"]],
    # Of `make bench-gpu`: what pip takes for torch there has CUDA, where the system is one for it.
    "gpu": [TORCH, ["torch==2.13.0", "transformers>=5,<6", "sentence-transformers>=6,<7"]],
    # optimum-onnx pins transformers below 4.58, so it cannot share torch's environment.
    "optimum": [TORCH, ["torch==2.13.0", "optimum-onnx[onnxruntime]==0.1.0"]],
    # Sentence Transformers 5 is the last that takes optimum-onnx, which its ONNX backend needs.
    "minilm": [
        TORCH,
        [
            "torch==2.13.0",
            "sentence-transformers>=5.1,<6",
            "optimum-onnx[onnxruntime]==0.1.0",
            "fastembed>=0.9",
        ],
    ],
    "openvino": [TORCH, ["torch==2.13.0", "transformers>=5,<6", "openvino", "nncf"]],
    # Servers, of `make bench-server`; infinity brings the Sentence Transformers that it needs.
    "infinity": [TORCH, ["torch==2.13.0", "infinity-emb[server,torch]"]],
    "fastapi": [
        TORCH,
        [
            "torch==2.13.0",
            "sentence-transformers>=6,<7",
            "fastapi",
            "uvicorn",
            "uvloop",
            "httptools",
        ],
    ],
}
OPTIMUM_EXPORT = """
import os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
from optimum.exporters.onnx import main_export
main_export(sys.argv[1], output=sys.argv[2], task="feature-extraction", device="cpu")
"""
# Optimum's own dynamic recipe for CPUs without VNNI, and with it.
OPTIMUM_QUANTIZE = """
import os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig
make = getattr(AutoQuantizationConfig, sys.argv[3])
quantizer = ORTQuantizer.from_pretrained(sys.argv[1], file_name="model.onnx")
config = make(is_static=False, per_channel=False)
quantizer.quantize(save_dir=sys.argv[2], quantization_config=config)
"""
NO_EUROBERT = "optimum-onnx 0.1.0 cannot export EuroBERT"


@dataclass(frozen=True, slots=True)
class Contender:
    """One line of the table: which Python runs which kind of worker on which file."""

    name: str
    python: Path
    kind: str
    path: Path


@dataclass(frozen=True, slots=True)
class LineUp:
    """Who takes part."""

    contenders: list[Contender]  # in the order in which they were asked for
    absent: dict[str, str]  # name -> why not
    vocabulary: int  # rows of the model's table
    limit: int  # tokens that a text may have


@dataclass(frozen=True, slots=True)
class Bench:
    """A model and the folder where all that is made of it is kept."""

    folder: Path
    source: Path

    def place(self, what: str) -> Path:
        """Where something made of this model stands."""
        return self.folder / f"{self.source.name}.{what}"

    @property
    def config(self) -> dict[str, Any]:
        """The model's config.json."""
        read: dict[str, Any] = json.loads((self.source / "config.json").read_text())
        return read

    def pack(self, what: str = "pack", *, tasks: str = TASK, precisions: str) -> Path:
        """A pack, brought up to date."""
        out = self.place(what)
        self._export("--out", out, "--tasks", tasks, "--precisions", precisions)
        return out

    def merged(self) -> Path:
        """The plain model with the retrieval adapter merged in, as transformers reads it."""
        out = self.place("merged")
        if not (out / TASK).exists():
            pack = self.place("pack")
            self._export("--out", pack, "--tasks", TASK, "--precisions", "int8", "--merged", out)
        return out / TASK

    def _export(self, *options: str | Path) -> None:
        run([sys.executable, "-m", "embedge", "export", self.source, "--no-progress", *options])


def prepare(bench: Bench, wanted: list[str], *, vnni: bool) -> LineUp:
    """Makes what is missing.

    Args:
        bench: the model.
        wanted: names of contenders.
        vnni: whether this CPU has VNNI instructions: it decides Optimum's recipe.
    """
    ours = [name for name in wanted if name.startswith("embedge ")]
    precisions = list(dict.fromkeys(name.split()[1] for name in ours))
    pack = bench.pack(precisions=",".join(precisions)) if precisions else bench.place("pack")
    here = Path(sys.executable)
    made = [Contender(name, here, name.replace(" ", "-"), pack) for name in ours]
    absent: dict[str, str] = {}
    for prefix, make in (
        ("OpenVINO", _openvino),
        ("torch", _torch),
        ("Optimum", lambda bench: _optimum(bench, vnni=vnni)),
    ):
        names = [name for name in wanted if name.startswith(f"{prefix} ")]
        try:
            made += make(bench) if names else []
        except PeerError as error:
            absent |= dict.fromkeys(names, str(error))
    chosen = [contender for contender in made if contender.name in wanted]
    chosen.sort(key=lambda contender: wanted.index(contender.name))
    return LineUp(
        chosen, absent, bench.config["vocab_size"], bench.config["max_position_embeddings"]
    )


def plain(name: str) -> str:
    """A contender's name without the budget of "embedge int8 budget 4096", a setting to race."""
    return re.sub(r"^(embedge \w+) budget [1-9][0-9]{0,9}$", r"\1", name)


class PeerError(Exception):
    """A peer cannot take part; the message says why."""


def _torch(bench: Bench) -> list[Contender]:
    python = environment(bench.folder, "torch")
    return [
        Contender(f"torch {short}", python, f"torch-{dtype}", bench.merged())
        for short, dtype in (("fp32", "float32"), ("bf16", "bfloat16"))
    ]


def _openvino(bench: Bench) -> list[Contender]:
    python = environment(bench.folder, "openvino")
    program = ("-m", "bench.race.openvino_convert")
    graphs = once(bench.place("openvino"), lambda out: [python, *program, bench.merged(), out])
    return [
        Contender("OpenVINO int8 f32", python, "openvino-int8-f32", graphs / "int8.xml"),
        Contender("OpenVINO int8 bf16", python, "openvino-int8-bf16", graphs / "int8.xml"),
        Contender("OpenVINO bf16", python, "openvino-bf16", graphs / "fp16.xml"),
    ]


def _optimum(bench: Bench, *, vnni: bool) -> list[Contender]:
    if bench.config.get("is_decoder") is False or bench.config["model_type"] == "eurobert":
        raise PeerError(NO_EUROBERT)
    python = environment(bench.folder, "optimum")
    recipe = "avx512_vnni" if vnni else "avx2"
    graphs = once(
        bench.place("optimum"), lambda out: [python, "-c", OPTIMUM_EXPORT, bench.merged(), out]
    )
    quantized = once(
        bench.place(f"optimum-{recipe}"),
        lambda out: [python, "-c", OPTIMUM_QUANTIZE, graphs, out, recipe],
    )
    return [
        Contender("Optimum fp32", python, "onnx", graphs / "model.onnx"),
        Contender("Optimum int8", python, "onnx", quantized / "model_quantized.onnx"),
    ]


def seeded_source(folder: Path, kind: str = KINDS[0], size: str = "full") -> Path:
    """The seeded model in `folder`, made once; v5-text-small has its own tokenizer if full."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / (kind if size == "full" else f"{kind}-{size}")
    if not source.exists():
        command: list[str | Path] = [sys.executable, places.ROOT / "models/seeded", source]
        command += ["--model", kind]
        command += ["--size", size, "--seed", "0"]
        if size == "full" and kind == "v5-text-small":
            tokenizer = folder / "tokenizer.json"
            run([sys.executable, places.ROOT / "models/tokenizer.py", tokenizer])
            command += ["--tokenizer", tokenizer]
        run(command)
    return source


def environment(folder: Path, name: str) -> Path:
    """A virtual environment, made once; its Python.

    Raises:
        PeerError: its packages cannot be installed.
    """
    place = folder / f"venv-{name}"
    stamp = place / "complete"
    python = place / "bin" / "python"
    if not stamp.exists():
        try:
            run([sys.executable, "-m", "venv", place])
            for packages in ENVIRONMENTS[name]:
                run([python, "-m", "pip", "install", "--quiet", *packages])
        except subprocess.CalledProcessError as error:
            raise PeerError(f"its packages could not be installed ({error.returncode})") from error
        stamp.touch()
    return python.absolute()


def once(out: Path, command: Callable[[Path], list[str | Path]]) -> Path:
    """Makes a folder whole or not at all."""
    if not out.exists():
        part = out.with_name(out.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            run(command(part))
        except subprocess.CalledProcessError as error:
            raise PeerError(f"its conversion failed ({error.returncode})") from error
        part.rename(out)
    return out


def run(command: list[str | Path]) -> None:
    """Runs a step and says so; its output goes to standard error."""
    start = time.monotonic()
    shown = " ".join(str(part) for part in command if "\n" not in str(part))
    print(f"  {shown[:150]}", file=sys.stderr, flush=True)
    subprocess.run(
        [str(part) for part in command],
        check=True,
        stdout=sys.stderr,
        env=places.environment(),
    )
    print(f"  took {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
