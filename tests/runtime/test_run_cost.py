"""What runs take on a GPU, and how much of its memory they may have."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from embedge.choice import Choice
from embedge.engine.providers.cuda import SHARES, Cuda
from embedge.errors import OptionError
from embedge.machine.gpu_memory import GpuMemory
from embedge.machine.resources import LEAST_MEMORY
from embedge.pack.manifest import Manifest, MemoryCost
from embedge.pack.reading import read_manifest
from embedge.run_cost import (
    FLOAT32,
    choose_gpu_limit,
    cpu_run_cost,
    gpu_run_cost,
)
from embedge.run_size import FULL_RUNS, choose_token_budget
from support.tiny import IMAGE as TOWER

MakePack = Callable[..., Path]
GIB = 2**30
FULL = Cuda.full_run
SMALL, NANO = 196_608, 92_160  # bytes a token of a CPU run, as these models' packs say


@pytest.fixture
def manifest(make_pack: MakePack) -> Manifest:
    return read_manifest(make_pack(image=dataclasses.replace(TOWER, per_image=1000)))


def padded(manifest: Manifest, side: str, memory: MemoryCost) -> Manifest:
    assert manifest.text is not None
    text = dataclasses.replace(manifest.text, padding=side)
    return dataclasses.replace(manifest, text=text, memory=memory)


def test_on_a_cpu_the_packs_own_estimate_stands(manifest: Manifest) -> None:
    for blocks in (False, True):
        cost = cpu_run_cost(manifest, blocks=blocks)
        assert (cost.text, cost.per_image, cost.blocks) == (manifest.memory, 1000, blocks)
        assert not cost.grows


def test_on_a_gpu_a_decoder_holds_no_square_and_an_encoder_half_of_it(manifest: Manifest) -> None:
    memory = MemoryCost(per_token=1000, per_token_squared=64.0)
    decoder, encoder = (padded(manifest, side, memory) for side in ("right", "either"))
    cost = gpu_run_cost(decoder, precision="fp16", shares=SHARES)
    assert cost.text == MemoryCost(per_token=round(1000 * SHARES.decoder), per_token_squared=0)
    assert (cost.per_image, cost.grows) == (round(1000 * SHARES.image), True)
    cost = gpu_run_cost(encoder, precision="fp16", shares=SHARES)
    assert cost.text == MemoryCost(per_token=round(1000 * SHARES.encoder), per_token_squared=32.0)
    double = gpu_run_cost(encoder, precision="fp32", shares=SHARES)
    assert double.text.per_token == round(1000 * FLOAT32 * SHARES.encoder)
    assert double.text.per_token_squared == 64.0


def limit(free: float | None, *, weights: float = 1.2, full: float = 3.1) -> Choice[int | None]:
    memory = None if free is None else GpuMemory(free=int(free * GIB), total=80 * GIB)
    return choose_gpu_limit(
        None, memory=memory, weights=int(weights * GIB), full_run=int(full * GIB)
    )


def test_a_gpus_default_is_what_brings_speed_and_never_more_than_half_of_what_is_free() -> None:
    large = limit(79)
    assert large.value == round(FULL_RUNS * int(3.1 * GIB))
    assert large.reason == "79.0 GiB of the GPU's 80.0 GiB are free; more brings little"
    for free in (4, 6, 8):
        chosen = limit(free)
        assert chosen.value is not None
        assert int(1.2 * GIB) + chosen.value <= free * GIB / 2
        assert "of half of it, 1.2 GiB go to the weights" in chosen.reason
    assert limit(2).value == LEAST_MEMORY
    assert "the least that allows any work" in limit(2).reason


def test_where_the_driver_or_the_pack_says_nothing() -> None:
    unknown = limit(None)
    assert unknown.value == round(FULL_RUNS * int(3.1 * GIB))
    assert "does not say" in unknown.reason
    assert limit(None, full=0).value is None
    half = limit(10, full=0).value
    assert half is not None
    assert abs(half - (5 * GIB - int(1.2 * GIB))) <= 1


def test_who_asks_wins() -> None:
    environment = {"EMBEDGE_MEMORY_LIMIT": "3GB"}
    for argument, value in ((None, 3 * 10**9), ("2GB", 2 * 10**9)):
        chosen = choose_gpu_limit(
            argument, environment=environment, memory=None, weights=1, full_run=1.0
        )
        assert chosen.value == value
    with pytest.raises(OptionError, match="EMBEDGE_MEMORY_LIMIT"):
        choose_gpu_limit(
            None,
            environment={"EMBEDGE_MEMORY_LIMIT": "much"},
            memory=None,
            weights=1,
            full_run=1.0,
        )


@pytest.mark.parametrize("per_token", [round(SMALL * SHARES.decoder), round(NANO * SHARES.encoder)])
@pytest.mark.parametrize("gigabytes", [0.3, 1, 3, 6, 12])
def test_the_limit_holds_two_runs_of_the_budget(per_token: int, gigabytes: float) -> None:
    memory_limit = int(gigabytes * 10**9)
    choice = choose_token_budget(
        None,
        full_run=FULL,
        caches=None,
        threads=1,
        per_token=per_token,
        memory_limit=memory_limit,
    )
    assert choice.value == min(FULL.value, memory_limit // (FULL_RUNS * per_token))
    if choice.value < FULL.value:
        assert choice.reason == f"the memory limit holds 2 runs of {choice.value:,} tokens"
