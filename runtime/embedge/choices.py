"""How a pack is run on this machine: five choices, made once, each with its reason.

Takes what the caller asked for ("auto" or None where nothing), the pack's manifest and what
`machine` and `engine.devices` find here; gives a frozen `Choices`. Opens no graph.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from embedge.choice import Choice
from embedge.engine.devices import choose_device
from embedge.engine.loading import attends_in_blocks
from embedge.errors import OptionError, PackError
from embedge.machine import resources
from embedge.machine.cpu_caches import read_caches
from embedge.machine.gpu_memory import read_gpu_memory
from embedge.options import is_one_of, shown
from embedge.pack.files import Pack
from embedge.pack.manifest import Manifest
from embedge.run_cost import RunCost, choose_gpu_limit, run_cost
from embedge.run_size import GPU, choose_token_budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What was decided, and why."""

    precision: Choice[str]
    device: Choice[str]  # "cpu" or "cuda"
    threads: Choice[int]
    memory_limit: Choice[int | None]  # bytes of all runs beside the weights; None: not bounded
    token_budget: Choice[int]  # padded tokens of one run
    cost: RunCost  # what runs take there

    def by_name(self) -> Mapping[str, Choice[Any]]:
        """The same under their names, in this order; read-only."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return MappingProxyType({k: v for k, v in values.items() if isinstance(v, Choice)})


def choose(
    pack: Pack,
    *,
    precision: str,
    device: str,
    threads: int | None,
    token_budget: int | None,
    memory_limit: float | str | None,
) -> Choices:
    """Decides how to run a pack; the arguments are those of `Embedder`.

    Raises:
        PackError: the pack has no precision that covers every task.
        OptionError: an argument is not one of this pack's, or out of range.
        DeviceError: the device that was asked for is unavailable.
    """
    manifest = pack.manifest
    held = manifest.precisions()
    if not held:
        raise PackError(f"{pack.folder}: no precision covers every task; export it again")
    if not isinstance(precision, str) or precision != "auto":
        choose_precision(manifest, precision, device="cpu")  # refuse before probing
    on = choose_device(device, precision=precision, held=held)
    chosen = choose_precision(manifest, precision, device=on.value)
    graph = manifest.graph(task=manifest.default_task, precision=chosen.value)
    weights = manifest.graph_size(graph)
    chosen_threads = resources.threads_here(threads)
    cost = run_cost(
        manifest,
        device=on.value,
        precision=chosen.value,
        blocks=on.value == "cpu" and attends_in_blocks(),
    )
    if on.value == "cpu":
        limit = resources.choose_memory_limit(
            memory_limit,
            environment=os.environ,
            available=resources.read_available_memory(),
            reserved=weights,
        )
    else:
        limit = choose_gpu_limit(
            memory_limit,
            environment=os.environ,
            memory=read_gpu_memory(),
            weights=weights,
            full_run=cost.text.per_token * GPU.value,
        )
    return Choices(
        precision=chosen,
        device=on,
        threads=chosen_threads,
        memory_limit=limit,
        token_budget=choose_token_budget(
            token_budget,
            environment=os.environ,
            device=on.value,
            caches=read_caches() if on.value == "cpu" and token_budget is None else None,
            threads=chosen_threads.value,
            per_token=cost.text.per_token,
            memory_limit=limit.value,
        ),
        cost=cost,
    )


def choose_precision(manifest: Manifest, wanted: str, *, device: str) -> Choice[str]:
    """Which graphs of the pack to run on a device.

    Args:
        manifest: the pack's.
        wanted: "auto" or a precision of the pack.
        device: "cpu" or "cuda".

    Raises:
        OptionError: the pack has no such precision, or nothing that should run there unasked.
    """
    held = manifest.precisions()
    if not isinstance(wanted, str) or wanted != "auto":
        if not is_one_of(wanted, held):
            raise OptionError(
                f"precision {shown(wanted)} is not in this pack; it has {', '.join(held)}"
            )
        return Choice(wanted, "precision= was given")
    if device == "cuda":
        if "fp16" in held:
            return Choice("fp16", "the device is CUDA, and the pack has fp16 graphs")
        if "fp32" in held:
            return Choice("fp32", "the device is CUDA, and the pack has no fp16 graphs")
        raise OptionError(
            f"this pack has {' and '.join(held)} graphs only, which are made for the CPU; export "
            'fp16, or pass device="cpu"'
        )
    if "int8" in held and manifest.passed_gate("int8"):
        return Choice("int8", "the device is the CPU, and the pack's int8 passed its gate")
    if "fp32" in held:
        problem = "did not pass its gate" if "int8" in held else "is not in the pack"
        return Choice("fp32", f"the device is the CPU, and int8 {problem}")
    if "int4" in held and manifest.passed_gate("int4"):
        return Choice("int4", "the device is the CPU, and of what runs there only int4 passed")
    raise OptionError(
        f"this pack has only {', '.join(held)} and no precision that may be chosen for a CPU: "
        "int8 or int4 that passed its gate, or fp32. Export one of them, or name one with "
        "precision="
    )
