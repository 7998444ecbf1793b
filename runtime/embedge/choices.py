"""How a pack is run on this machine: six choices, made once, each with its reason.

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
from embedge.engine.providers.provider import Provider
from embedge.engine.providers.register import provider_of
from embedge.errors import OptionError, PackError
from embedge.machine import resources
from embedge.machine.cpu_caches import read_caches
from embedge.machine.priority import choose_priority
from embedge.options import is_one_of, shown
from embedge.pack.files import Pack
from embedge.pack.manifest import Manifest
from embedge.run_cost import RunCost
from embedge.run_size import choose_token_budget

GATED = ("int8", "int4")  # precisions that are chosen only where the pack's passed their gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What was decided, and why."""

    precision: Choice[str]
    device: Choice[str]
    threads: Choice[int]
    priority: Choice[str]  # "normal" or "low"
    memory_limit: Choice[int | None]  # bytes of all runs beside the weights; None: not bounded
    token_budget: Choice[int]  # padded tokens of one run
    cost: RunCost  # what runs take there

    @property
    def provider(self) -> Provider:
        """The device, and what is known of it."""
        return provider_of(self.device.value)

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
    background: bool = False,
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
    chosen_threads = resources.threads_here(threads, background=background)
    provider = provider_of(on.value)
    full_run, cost = provider.full_run, provider.run_cost(manifest, precision=chosen.value)
    limit = provider.memory_limit(
        memory_limit,
        weights=weights,
        full_run=0 if full_run is None else cost.text.per_token * full_run.value,
    )
    return Choices(
        precision=chosen,
        device=on,
        threads=chosen_threads,
        priority=choose_priority(background, accelerator=provider.accelerator),
        memory_limit=limit,
        token_budget=choose_token_budget(
            token_budget,
            environment=os.environ,
            full_run=full_run,
            caches=read_caches() if full_run is None and token_budget is None else None,
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
        device: its name.

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
    provider, lacking = provider_of(device), []
    for name in provider.precisions:
        if name not in held:
            lacking.append(f"{name} is not in the pack")
        elif name in GATED and not manifest.passed_gate(name):
            lacking.append(f"{name} did not pass its gate")
        else:
            found = (
                f"the pack's {name} passed its gate" if name in GATED else f"the pack has {name}"
            )
            return Choice(
                name, f"the device is {provider.title}, and {', '.join(lacking) or found}"
            )
    wanted_here = [f"{p} that passed its gate" if p in GATED else p for p in provider.precisions]
    raise OptionError(
        f"this pack has only {', '.join(held)} and no precision that may be chosen for "
        f"{provider.title}: {', '.join(wanted_here)}. Export one of them, name one with "
        "precision=, or pass another device="
    )
