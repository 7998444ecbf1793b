"""int8 on CPUs that this machine is not: `make test-emulated`.

x86 without VNNI adds pairs of uint8 x int8 products in 16 bits, which saturate; embedge finds that
out and takes an exact kernel. arm64 adds in 32 bits. Every figure is of the whole Embedder on the
emulated CPU; the last lines of a run are the table.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from embedge import Embedder
from embedge.engine.kernels import EXACT, EXACT_BY_OPTION
from embedge_export.export import export_pack
from emulated.machines import ARM_CPUS, Machine, arm64, lacking, x86

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("worker.py")
BAR = 0.998  # least cosine to fp32
TEXTS = (
    "sunset",
    "Invoice 2024-0173: 1,299.00 EUR",  # rounds otherwise with AVX2 than with AVX-512
    "return sum(values)",
    "Ein Zug fährt nach Hamburg.",
    "桜が咲く",
)
SOURCES = {
    "embedge-mini": (ROOT / "models" / "embedge-mini", "retrieval"),
    "smollm2": (ROOT / "models" / "smollm2-135m", "base"),
}
MACHINES = {"haswell": "x86_64"} | dict.fromkeys(ARM_CPUS, "aarch64")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a machine made of the texts."""

    chosen: np.ndarray
    alone: np.ndarray
    plain: np.ndarray
    kernel: str
    doctor: str


@pytest.fixture(scope="session", params=SOURCES)
def model(request, tmp_path_factory):
    """A pack, its task and its fp32 vectors."""
    source, task = SOURCES[request.param]
    if not source.exists():
        pytest.skip(f"{source.name} is not there; make {request.param}")
    folder = tmp_path_factory.mktemp("packs") / request.param
    export_pack(source, out=folder, tasks=[task], precisions=("fp32", "int8"), accept_failures=True)
    with Embedder(folder, precision="fp32", threads=1) as embedder:
        return folder, task, embedder.encode(TEXTS, task=task)


@pytest.fixture(scope="session")
def ask(tmp_path_factory):
    """ask(machine, pack, task) -> Answer; each is asked once."""
    answers: dict[tuple[str, Path], Answer] = {}

    def run(machine: Machine, pack: Path, task: str) -> Answer:
        key = (machine.name, pack)
        if key not in answers:
            folder = tmp_path_factory.mktemp("answer")
            (folder / "texts.json").write_text(json.dumps(TEXTS), encoding="utf-8")
            out = folder / "vectors.npz"
            arguments = [str(pack), task, str(folder / "texts.json"), str(out)]
            if pack.name == "embedge-mini":
                arguments += ["doctor"]
            told = machine.run(WORKER, *arguments, path=(ROOT / "runtime",))
            with np.load(out) as held:
                arrays = {name: held[name] for name in ("chosen", "alone", "plain")}
                answers[key] = Answer(**arrays, kernel=str(held["kernel"]), doctor=told)
        return answers[key]

    return run


def emulated(name: str) -> Machine:
    """A machine of MACHINES; skips where it cannot be had."""
    if reason := lacking(MACHINES[name]):
        pytest.skip(reason)
    return x86("Haswell") if name == "haswell" else arm64(ROOT / "bench" / "arm64", name)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a.astype(np.float64) * b, axis=1)


def test_x86_without_vnni_saturates_unless_the_exact_kernel_is_taken(model, ask):
    pack, task, want = model
    answer = ask(emulated("haswell"), pack, task)
    assert answer.kernel == EXACT_BY_OPTION
    if pack.name == "embedge-mini":
        assert f"{EXACT_BY_OPTION}  (this CPU's uint8 x int8 kernel saturates" in answer.doctor
        assert "no problem found" in answer.doctor
    # The same graph, its own kernel left alone: other numbers, and further from fp32.
    assert np.abs(answer.plain - answer.chosen).max() > 1e-3
    assert cosines(answer.plain, want).mean() < cosines(answer.chosen, want).mean()


@pytest.mark.parametrize("name", MACHINES)
def test_every_cpu_holds_the_bar_and_keeps_texts_apart(model, ask, name, tell):
    pack, task, want = model
    machine = emulated(name)
    here, there = ask(Machine("this machine"), pack, task), ask(machine, pack, task)
    near = cosines(there.chosen, want)
    tell(
        pack.name, machine.name, there.kernel, near.min(), cosines(there.plain, want).min(),
        np.abs(there.chosen - there.alone).max(), np.abs(there.chosen - here.chosen).max(),
        cosines(there.chosen, here.chosen).min(),
    )  # fmt: skip
    assert near.min() >= min(BAR, cosines(here.chosen, want).min() - 5e-4)
    np.testing.assert_array_equal(there.chosen, there.alone)  # to the last bit, as here
    # Not to the last bit between machines: kernels of other widths round floats otherwise, and a
    # value that then falls into the next of 255 levels is a whole step away.
    assert cosines(there.chosen, here.chosen).min() >= BAR
    if name != "haswell":
        assert there.kernel == EXACT
