"""Tokens of a run: what tables of machines would choose."""

import pytest

from embedge.batches import Limits, plan
from embedge.choice import Choice
from embedge.errors import OptionError
from embedge.machine.cpu_caches import Cache, CpuCaches
from embedge.pack.manifest import MemoryCost
from embedge.run_size import LEAST, MOST, choose_token_budget

MIB = 2**20
FULL = Choice(16384, "a device of its own takes as many")
# Bytes a token of v5-text-small, v5-text-nano and embedge-mini, as their manifests say.
SMALL, NANO, MINI = 196_608, 92_160, 49_152


def machine(processors: int, *levels: tuple[int, float, int]) -> CpuCaches:
    """Levels as (level, MiB, cores that share it), the same for every core."""
    core = tuple(
        Cache(level=level, size=int(size * MIB), cores=cores) for level, size, cores in levels
    )
    return CpuCaches(by_core=(core,) * min(8, processors), processors=processors)


ZEN5_GUEST = machine(2, (2, 1, 1), (3, 32, 2))
XEON = machine(112, (2, 2, 1), (3, 105, 56))
XEON_GUEST = machine(2, (2, 2, 1), (3, 260, 2))
XEON_LARGE = machine(256, (2, 2, 1), (3, 504, 128))
LAPTOP = machine(8, (2, 1.25, 1), (3, 8, 4))
CACHE_STACKED = machine(16, (2, 1, 1), (3, 96, 8))
APPLE_M = machine(8, (2, 16, 4))
OLD_ARM = machine(4, (2, 1, 4))


@pytest.mark.parametrize(
    ("caches", "threads", "small", "nano", "mini"),
    [
        (ZEN5_GUEST, 2, 272, 386, 544),
        (ZEN5_GUEST, 1, 272, 272, 362),
        (XEON, 8, 272, 352, 544),
        (XEON, 2, 272, 272, 272),
        (XEON_GUEST, 2, 544, 544, 544),
        (XEON_LARGE, 8, 272, 540, 544),
        (LAPTOP, 4, 272, 272, 277),
        (CACHE_STACKED, 8, 544, 544, 544),
        (APPLE_M, 4, 272, 272, 341),
        (OLD_ARM, 4, 272, 272, 272),
        (None, 4, 272, 272, 272),
    ],
)
def test_machines(caches: CpuCaches | None, threads: int, small: int, nano: int, mini: int) -> None:
    chosen = [
        choose_token_budget(None, full_run=None, caches=caches, threads=threads, per_token=bytes_)
        for bytes_ in (SMALL, NANO, MINI)
    ]
    assert [choice.value for choice in chosen] == [small, nano, mini]
    assert all(choice.reason for choice in chosen)


@pytest.mark.parametrize("per_token", [0, 1, 1000, 10**6, 2**50])
@pytest.mark.parametrize("threads", [1, 16, 10**6])
def test_whatever_is_said_the_run_is_of_a_fair_size(per_token: int, threads: int) -> None:
    for caches in (ZEN5_GUEST, XEON, OLD_ARM, None):
        choice = choose_token_budget(
            None, full_run=None, caches=caches, threads=threads, per_token=per_token
        )
        assert LEAST <= choice.value <= MOST


def test_the_reason_says_what_was_found() -> None:
    def reason(caches: CpuCaches | None, threads: int, per_token: int) -> str:
        return choose_token_budget(
            None, full_run=None, caches=caches, threads=threads, per_token=per_token
        ).reason

    assert reason(ZEN5_GUEST, 2, NANO) == "34 MiB of cache for 2 threads hold about 386 tokens"
    assert "the weights are read once a run" in reason(ZEN5_GUEST, 1, SMALL)
    assert reason(ZEN5_GUEST, 1, SMALL).startswith("17 MiB of cache for 1 thread hold")
    assert "beyond 544" in reason(ZEN5_GUEST, 2, MINI)
    assert "does not say what its caches hold" in reason(None, 2, SMALL)
    assert "does not say what a token takes" in reason(ZEN5_GUEST, 2, 0)


def test_who_asks_wins_and_a_gpu_has_its_own() -> None:
    asked = choose_token_budget(7, full_run=None, caches=ZEN5_GUEST, threads=2, per_token=SMALL)
    assert asked == Choice(7, "token_budget= was given")
    given = choose_token_budget(7, full_run=FULL, caches=None, threads=2, per_token=SMALL)
    assert given.value == 7
    gpu = choose_token_budget(None, full_run=FULL, caches=None, threads=2, per_token=SMALL)
    assert gpu == FULL
    for argument, budget in ((None, 99), (7, 7)):
        chosen = choose_token_budget(
            argument,
            environment={"EMBEDGE_TOKEN_BUDGET": "99"},
            full_run=FULL,
            caches=None,
            threads=1,
            per_token=1,
        )
        assert chosen.value == budget
    with pytest.raises(OptionError, match="token_budget"):
        choose_token_budget(0, full_run=None, caches=None, threads=1, per_token=1)


@pytest.mark.parametrize("budget", [LEAST, MOST])
@pytest.mark.parametrize("length", [4, 16, 64, 128, 256])
def test_texts_of_one_common_length_fill_a_run(budget: int, length: int) -> None:
    """Not 127 texts of 4 tokens, and then one alone that reads all weights again."""
    filled = 512 if budget == MOST else 256
    limits = Limits(
        token_budget=budget,
        memory=MemoryCost(per_token=0, per_token_squared=0.0),
        memory_limit=None,
    )
    assert len(plan([length] * (filled // length), limits)) == 1
