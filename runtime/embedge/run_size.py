"""How many tokens one run takes: on a CPU as many as its caches hold, on a GPU many.

Takes what was asked for, the caches (`cpu_caches`), the threads and what a token takes in memory
(the pack's manifest); gives a `Choice`. Pure; opens nothing and measures nothing.

A run reads all weights once and writes its activations many times. The fewer its tokens, the more
often the weights are read; once its activations leave the caches, every layer waits for the main
memory instead. Between the two the speed is flat: three models of 8 to 600 million parameters, on
one thread of a Zen 5 with 32 MiB, differ by about 6 % between 192 tokens and what the caches hold.
A rough estimate of the caches is therefore good enough, and a probe would find no more. Threads
that share a core with other programs wait for one another in every operator of every run: there
larger runs are up to 13 % quicker, and token_budget= says so where it is known.
"""

from collections.abc import Mapping

from embedge.choice import Choice
from embedge.machine.cpu_caches import CpuCaches, share
from embedge.machine.resources import NOTHING_SET
from embedge.options import whole_number, whole_number_of

BUDGET_VARIABLE = "EMBEDGE_TOKEN_BUDGET"
# Runs of the full size that a GPU's memory limit holds: one, and what earlier ones left behind.
FULL_RUNS = 2
# Padded tokens, as `batches.cost` counts them: 256 and 512 in texts of up to 256. Below the first a
# run does too little with the weights that it reads: that takes a core with VNNI as long as about
# 20 tokens (runs of 64 tokens are 12 % slower than those of 128), whatever the model's size, since
# both grow with it. Beyond the second nothing is gained: what a run costs to start is spread thin,
# and padding, of which a larger run holds more, slows it.
LEAST, MOST = 272, 544
UNKNOWN = LEAST  # where the system says nothing of its caches


def choose_token_budget(
    argument: int | None,
    *,
    environment: Mapping[str, str] = NOTHING_SET,
    full_run: Choice[int] | None,
    caches: CpuCaches | None,
    threads: int,
    per_token: int,
    memory_limit: int | None = None,
) -> Choice[int]:
    """Padded tokens of one run.

    Args:
        argument: what the caller asked for; it wins.
        environment: where EMBEDGE_TOKEN_BUDGET may stand; it comes second.
        full_run: what a device with memory of its own takes; None: the CPU's caches decide.
        caches: of this CPU; None where the system says nothing of them.
        threads: of one run.
        per_token: bytes of activations that a token takes on the device, by estimate; 0 where that
            is not known.
        memory_limit: bytes of all runs; it bounds a GPU's run, which caches do not.
    """
    if argument is not None:
        return Choice(whole_number(argument, "token_budget"), "token_budget= was given")
    if text := environment.get(BUDGET_VARIABLE, "").strip():
        return Choice(whole_number_of(text, BUDGET_VARIABLE), f"{BUDGET_VARIABLE} is set")
    if full_run is not None:
        return _within(memory_limit, full_run, per_token)
    held = share(caches, threads)
    if held is None:
        return Choice(UNKNOWN, "this system does not say what its caches hold; right for most")
    if not per_token:
        return Choice(UNKNOWN, "the pack does not say what a token takes; right for most")
    fitting = held // per_token
    counted = "1 thread" if threads == 1 else f"{threads} threads"
    reason = f"{held / 2**20:,.0f} MiB of cache for {counted} hold about {fitting:,} tokens"
    if fitting < LEAST:
        return Choice(
            LEAST, f"{reason}; the weights are read once a run, {LEAST} make that worth it"
        )
    if fitting > MOST:
        return Choice(MOST, f"{reason}; beyond {MOST} nothing is gained")
    return Choice(fitting, reason)


def _within(memory_limit: int | None, full_run: Choice[int], per_token: int) -> Choice[int]:
    if not per_token or memory_limit is None:
        return full_run
    fitting = max(1, memory_limit // (FULL_RUNS * per_token))
    if fitting >= full_run.value:
        return full_run
    return Choice(fitting, f"the memory limit holds {FULL_RUNS} runs of {fitting:,} tokens")
