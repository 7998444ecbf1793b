"""`make bench-gpu`: what embedge does on a GPU, in parts, each printed as it comes.

    small    v5-text-small: shapes from 1x32 to 1x8192, tokens a second, beside torch; cosines
    nano     v5-text-nano: the same
    clip     jina-clip-v2's image tower: 1, 8 and 32 images a run
    user     20,000 sentences and 2,000 passages with the tokenizer, beside Sentence Transformers
    memory   v5-text-small: estimates, pools, peaks at memory limits; one short text, captured

Full-size models with seeded weights, made once and kept; `--prepare-only` makes them and measures
nothing. Measuring is meant to take about eight minutes on a fast GPU. torch runs in an environment
that is made for it, or in `--torch-python`. A part that fails says why, and the others go on; exits
with 1 then, and with 2 where there is no CUDA device. Nothing else may run on the GPU.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.clip import run as clip
from bench.gpu import memory, speed, user
from bench.machine import cuda, facts
from bench.race.command_line import listed
from bench.race.peers import Bench, Contender, PeerError, environment, seeded_source
from bench.race.work import Work, parse
from embedge.engine.loading import runtime_version
from embedge.engine.providers.cuda import cuda_problem

SMALL = "1x32,1x128,1x512,16x128,64x128,256x128,4x2048,1x8192"
NANO = "1x32,1x128,1x512,16x128,64x128,16x512,4x2048,1x8192"
IMAGES = "1x1,8x1,32x1"
DTYPES = {"torch fp32": "float32", "torch bf16": "bfloat16", "torch fp16": "float16"}
VOCABULARY = 1000  # of images there are no tokens; their ids seed pixels


@dataclass
class Setup:
    """What the parts share: options, and what was made.

    Attributes:
        options: of the command line.
        absent: contenders that are left out, and why.
        packs: of each kind of model.
    """

    options: argparse.Namespace
    absent: dict[str, str] = field(default_factory=dict)
    packs: dict[str, Path] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """Of the workers' kinds."""
        return "" if self.options.device == "cpu" else f"-{self.options.device}"

    def bench(self, kind: str) -> Bench:
        """A seeded model, and where things made of it are kept."""
        return Bench(self.options.out, seeded_source(self.options.out, kind, self.options.size))

    def vocabulary(self, kind: str) -> int:
        """Rows of its table."""
        return int(self.bench(kind).config["vocab_size"])

    def pack(self, kind: str) -> Path:
        """Its fp16 pack of one task, brought up to date once."""
        if kind not in self.packs:
            self.packs[kind] = self.bench(kind).pack("gpu-pack", precisions="fp16")
        return self.packs[kind]

    def torch(self) -> Path | None:
        """The Python that has torch; None where it is to be left out, or cannot be had."""
        if not self.options.peers:
            return None
        if self.options.torch_python is not None:
            return Path(self.options.torch_python)
        try:
            return environment(self.options.out, "gpu")
        except PeerError as error:
            self.absent["torch"] = str(error)
            return None

    def texts(self, kind: str) -> list[Contender]:
        """Who runs token ids: embedge, torch, and torch in float32 for the cosines."""
        ours = f"embedge-fp16{self.suffix}"
        contenders = [Contender(speed.OURS, Path(sys.executable), ours, self.pack(kind))]
        if python := self.torch():
            merged = self.bench(kind).merged()
            contenders += [
                Contender(name, python, f"torch-{dtype}{self.suffix}", merged)
                for name, dtype in DTYPES.items()
            ]
        return contenders

    def tower(self) -> tuple[Path, Path]:
        """jina-clip-v2, seeded, and its fp16 graphs."""
        source = clip.seeded_source(self.options.out, self.options.size)
        place = self.options.out / f"{source.name}.graphs-fp16"
        return source, clip.whole(place, clip.write_graphs, source, ["fp16"])

    def images(self) -> list[Contender]:
        """Likewise of pixels."""
        source, graphs = self.tower()
        ours = f"image embedge fp16{self.suffix.replace('-', ' ')}"
        contenders = [Contender(speed.OURS, Path(sys.executable), ours, graphs)]
        if python := self.torch():
            contenders += [
                Contender(name, python, f"image {name}{self.suffix.replace('-', ' ')}", source)
                for name in DTYPES
            ]
        return contenders

    def users(self) -> list[Contender]:
        """Who embeds texts."""
        kind = "v5-text-small"
        contenders = [Contender(user.OURS, Path(sys.executable), "embedge", self.pack(kind))]
        if python := self.torch():
            merged = self.bench(kind).merged()
            contenders += [
                Contender(f"Sentence Transformers {short}", python, dtype, merged)
                for short, dtype in (("bf16", "bfloat16"), ("fp16", "float16"))
            ]
        return contenders


def shapes(setup: Setup, kind: str, works: list[Work]) -> Iterator[str]:
    """A part of one text model."""
    options = setup.options
    figures = speed.measure(
        setup.texts(kind),
        works,
        vocabulary=setup.vocabulary(kind),
        seconds=options.seconds,
        rounds=options.rounds,
    )
    yield "Tokens a second, best (median)."
    yield from told(setup, figures, speed.table(figures, works, unit="texts x tokens"))


def images(setup: Setup) -> Iterator[str]:
    """The part of the image tower."""
    options, works = setup.options, [parse(name) for name in listed(setup.options.images)]
    figures = speed.measure(
        setup.images(),
        works,
        vocabulary=VOCABULARY,
        seconds=options.seconds,
        rounds=options.rounds,
        program=clip.WORKER,
    )
    yield "Images a second, best (median)."
    yield from told(setup, figures, speed.table(figures, works, unit="images x 1", digits=1))


def told(setup: Setup, figures: speed.Figures, table: str) -> Iterator[str]:
    """A table, the versions, and why some figures are missing."""
    yield table
    found = speed.versions(figures.results)
    yield ", ".join(f"{name} {number}" for name, number in found.items())
    reasons = [f"- {name} is left out: {reason}." for name, reason in setup.absent.items()]
    for name, result in figures.results.items():
        if result.failure:
            reasons.append(f"- {name} failed: {result.failure}.")
        reasons += [f"- {name}, {work}: {reason}." for work, reason in result.skipped.items()]
    if reasons:
        yield "\n".join(reasons)


def users(setup: Setup) -> Iterator[str]:
    """The part of whole calls."""
    options = setup.options
    jobs = user.jobs(options.passages, options.sentences)
    texts = options.out / "gpu-texts.json"
    texts.write_text(json.dumps(jobs), encoding="utf-8")
    found, absent = user.measure(setup.users(), texts, options.device)
    yield user.table(found, {name: len(some) for name, some in jobs.items()})
    reasons = {**setup.absent, **absent}
    yield "\n".join(f"- {name} is left out: {reason}." for name, reason in reasons.items())


def memories(setup: Setup) -> Iterator[str]:
    """The part of memory."""
    options = setup.options
    if memory.free_bytes(options.device) is None:
        raise RuntimeError("the driver does not say how much of the GPU's memory is free")
    yield from memory.tables(
        setup.pack("v5-text-small"),
        options.device,
        shapes=listed(options.memory_shapes),
        calls=memory.mixed_lengths(options.sentences // 2, options.passages),
    )


PARTS: Mapping[str, Callable[[Setup], Iterator[str]]] = {
    "small": lambda setup: shapes(setup, "v5-text-small", works_of(setup.options.small)),
    "nano": lambda setup: shapes(setup, "v5-text-nano", works_of(setup.options.nano)),
    "clip": images,
    "user": users,
    "memory": memories,
}


def works_of(names: str) -> list[Work]:
    """The pieces of work of an option."""
    return [parse(name) for name in listed(names)]


def prepare(setup: Setup) -> None:
    """Makes what the parts need, so that measuring is all that they do."""
    needed: Mapping[str, Callable[[], object]] = {
        "small": lambda: setup.texts("v5-text-small"),
        "nano": lambda: setup.texts("v5-text-nano"),
        "clip": setup.images,
        "user": setup.users,
        "memory": lambda: setup.pack("v5-text-small"),
    }
    for part in setup.options.parts:
        needed[part]()


def measure(setup: Setup, tell: Callable[[str], None]) -> int:
    """All parts that were asked for; 1 if one failed."""
    code = 0
    for part in setup.options.parts:
        start = time.monotonic()
        tell(f"## {part}")
        try:
            for piece in PARTS[part](setup):
                tell(piece)
        except Exception as error:  # the others are to run all the same
            tell(f"The part failed: {' '.join(str(error).split())[:300] or type(error).__name__}")
            code = 1
        tell(f"({time.monotonic() - start:.0f} s)")
    return code


def main() -> int:
    """Prepares, measures, prints and writes gpu.md."""
    options = _options()
    if options.device == "cuda" and (missing := cuda.problem() or cuda_problem()):
        print(f"bench-gpu: {missing}", file=sys.stderr)
        return cuda.NO_DEVICE
    setup = Setup(options)
    start = time.monotonic()
    prepare(setup)
    print(f"  prepared in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    if options.prepare_only:
        return 0
    here = facts.machine()
    name = cuda.device_name() if options.device == "cuda" else here["cpu"]
    with (options.out / "gpu.md").open("w", encoding="utf-8") as file:

        def tell(piece: str) -> None:
            if piece:
                print(piece, end="\n\n", flush=True)
                print(piece, end="\n\n", file=file, flush=True)

        tell(f"# embedge on {name}")
        tell(
            f"{facts.sentence(here, facts.usable_cores(), {})}, ONNX Runtime {runtime_version()}; "
            f"seeded models of {options.size} size, {options.rounds} rounds."
        )
        return measure(setup, tell)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].rpartition(": ")[2])
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--size", choices=("tiny", "full"), default="full")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try it")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="without torch")
    parser.add_argument("--torch-python", metavar="PYTHON", help="a Python that has torch")
    parser.add_argument("--prepare-only", action="store_true", help="make what is missing, no run")
    parser.add_argument("--small", default=SMALL, help=f"shapes (default: {SMALL})")
    parser.add_argument("--nano", default=NANO, help=f"shapes (default: {NANO})")
    parser.add_argument("--images", default=IMAGES, help=f"images in a run (default: {IMAGES})")
    parser.add_argument("--memory-shapes", default=",".join(memory.SHAPES), help="of single runs")
    parser.add_argument("--sentences", type=int, default=user.SENTENCES)
    parser.add_argument("--passages", type=int, default=user.PASSAGES)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="where things are kept")
    options = parser.parse_args()
    options.parts = listed(options.parts)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
