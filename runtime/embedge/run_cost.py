"""What a run takes in a device's memory, and how much of a GPU's memory runs may take.

Takes a pack's estimate, which is of a CPU run (`MemoryCost`), and what the GPU's driver says; gives
estimates of that device, and a `Choice`. Pure; opens nothing.

ONNX Runtime's pool of a GPU takes a region for each buffer that none of its free ones can hold,
and cuts up free ones. Later runs that are not larger take nothing more; a larger one may find no
region that is large enough, and takes all of its buffers beside the old ones. Simulated with the
buffers of real graphs, 58 runs of about one size in any order took seven times what the first of
them did; from the largest down they took no more than the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from embedge.choice import Choice
from embedge.machine.gpu_memory import GpuMemory
from embedge.machine.resources import LEAST_MEMORY, MEMORY_VARIABLE, NOTHING_SET
from embedge.pack.manifest import Manifest, MemoryCost
from embedge.run_size import FULL_RUNS
from embedge.sizes import byte_count, size_text

# Of what is free, the most that is taken unasked: weights and runs together.
FREE_SHARE = 0.5
FLOAT32 = 2.0  # times what half precision takes


@dataclass(frozen=True, slots=True)
class GpuShares:
    """Of what a pack estimates for a CPU, what a GPU's pool takes for a run in half precision.

    Attributes:
        decoder: of texts that are padded on the right alone.
        encoder: of other texts.
        image: of images.
    """

    decoder: float
    encoder: float
    image: float


@dataclass(frozen=True, slots=True)
class RunCost:
    """Estimate of the transient bytes of runs on one device, weights not included.

    Attributes:
        text: of texts: `per_token * B * S + per_token_squared * B * S * S`.
        per_image: of each image of a run; 0: not known.
        blocks: whether attention to long texts takes no square there, whatever `text` says.
        grows: whether the device's pool of memory grows with runs of growing sizes; see above.
    """

    text: MemoryCost
    per_image: int
    blocks: bool
    grows: bool = False


def cpu_run_cost(manifest: Manifest, *, blocks: bool) -> RunCost:
    """What runs of a pack take on a CPU: what the pack says.

    Args:
        manifest: the pack's.
        blocks: whether this ONNX Runtime's CPU attends to long texts in blocks.
    """
    return RunCost(manifest.memory, _per_image(manifest), blocks)


def gpu_run_cost(manifest: Manifest, *, precision: str, shares: GpuShares) -> RunCost:
    """What runs of a pack take in a GPU's pool.

    Args:
        manifest: the pack's.
        precision: of the graphs that run.
        shares: of that GPU's provider.
    """
    memory, factor = manifest.memory, 1.0 if precision == "fp16" else FLOAT32
    # A decoder's texts are padded on the right alone; its operator takes no square on a GPU.
    decoder = manifest.text is not None and manifest.text.padding == "right"
    share = shares.decoder if decoder else shares.encoder
    text = MemoryCost(
        per_token=round(memory.per_token * factor * share),
        per_token_squared=0.0 if decoder else memory.per_token_squared * factor / FLOAT32,
    )
    per_image = round(_per_image(manifest) * factor * shares.image)
    return RunCost(text, per_image, blocks=False, grows=True)


def _per_image(manifest: Manifest) -> int:
    return 0 if manifest.image is None else manifest.image.per_image


def choose_gpu_limit(
    argument: float | str | None,
    *,
    environment: Mapping[str, str] = NOTHING_SET,
    memory: GpuMemory | None,
    weights: int,
    full_run: float,
) -> Choice[int | None]:
    """How many bytes of a GPU's memory the runs of an embedder may take, beside the weights.

    Args:
        argument: what the caller asked for, as `byte_count` takes it; it wins.
        environment: where EMBEDGE_MEMORY_LIMIT may stand; it comes second.
        memory: of the GPU; None where the driver does not say.
        weights: bytes of one task's graph.
        full_run: bytes that a run of the most tokens is estimated to take; 0: not known.
    """
    if argument is not None:
        return Choice(byte_count(argument, "memory_limit"), "memory_limit= was given")
    if text := environment.get(MEMORY_VARIABLE, "").strip():
        return Choice(byte_count(text, MEMORY_VARIABLE), f"{MEMORY_VARIABLE} is set")
    enough = max(LEAST_MEMORY, round(FULL_RUNS * full_run)) if full_run else None
    if memory is None:
        unknown = "the driver does not say how much of the GPU's memory is free"
        return Choice(enough, unknown if enough is None else f"{unknown}; more brings little")
    share = f"{size_text(memory.free)} of the GPU's {size_text(memory.total)} are free"
    limit = int(FREE_SHARE * memory.free) - weights
    if enough is not None and limit >= enough:
        return Choice(enough, f"{share}; more brings little")
    half = f"{share}; of half of it, {size_text(weights)} go to the weights"
    if limit < LEAST_MEMORY:
        return Choice(LEAST_MEMORY, f"{half}; the least that allows any work")
    return Choice(limit, half)
