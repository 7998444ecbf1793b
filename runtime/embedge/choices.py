"""How a pack is run on this machine: five choices, made once, each with its reason.

Takes what the caller asked for ("auto" or None where nothing), the pack's manifest and what
`machine`, `cpu_caches` and `devices` find here; gives a frozen `Choices`. Opens no graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from embedge.engine.devices import choose_device
from embedge.errors import PackError
from embedge.machine import resources as machine
from embedge.machine.cpu_caches import read_caches
from embedge.machine.resources import Choice
from embedge.pack.files import Pack, choose_precision
from embedge.run_size import choose_token_budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What was decided, and why."""

    precision: Choice[str]
    device: Choice[str]  # "cpu" or "cuda"
    threads: Choice[int]
    memory_limit: Choice[int | None]  # bytes of one run beside the weights; None: not bounded
    token_budget: Choice[int]  # padded tokens of one run

    def by_name(self) -> Mapping[str, Choice[Any]]:
        """The same under their names, in this order; read-only."""
        return MappingProxyType({field.name: getattr(self, field.name) for field in fields(self)})


def choose(
    pack: Pack,
    *,
    precision: str,
    device: str,
    threads: int | None,
    token_budget: int | None,
    memory_limit: int | None,
) -> Choices:
    """Decides how to run a pack; the arguments are those of `Embedder`.

    Raises:
        PackError: the pack has no precision that covers every task.
        OptionError: an argument is not one of this pack's, or no sane number.
        DeviceError: the device that was asked for cannot be had.
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
    weights = sum(manifest.files[name].size for name in (graph.file, *graph.data))
    chosen_threads = machine.threads_here(threads)
    return Choices(
        precision=chosen,
        device=on,
        threads=chosen_threads,
        memory_limit=machine.choose_memory_limit(
            memory_limit,
            # The machine's memory says nothing of a GPU's.
            available=machine.read_available_memory() if on.value == "cpu" else None,
            reserved=weights,
        ),
        token_budget=choose_token_budget(
            token_budget,
            device=on.value,
            caches=read_caches() if on.value == "cpu" and token_budget is None else None,
            threads=chosen_threads.value,
            per_token=manifest.memory.per_token,
        ),
    )
