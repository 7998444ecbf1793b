"""Where to run: the CPU, or another device if it really works.

Takes what the caller wants and what the pack holds, and asks the providers of the register; gives a
`Choice`. Knows no device by itself but the CPU.
"""

from collections.abc import Sequence

from embedge.choice import Choice
from embedge.engine.providers.provider import Provider
from embedge.engine.providers.register import PROVIDERS
from embedge.errors import DeviceError
from embedge.options import check_one_of


def choose_device(wanted: str, *, precision: str, held: Sequence[str]) -> Choice[str]:
    """Where to run.

    Args:
        wanted: "auto" or a device of the register.
        precision: what the caller asked for, or "auto".
        held: the precisions of the pack.

    Raises:
        DeviceError: the device that was asked for is unavailable.
    """
    check_one_of(wanted, "device", ("auto", *PROVIDERS))
    if wanted == "cpu":
        return Choice("cpu", "device= was given")
    if wanted != "auto":
        provider = PROVIDERS[wanted]
        if problem := provider.problem():
            raise DeviceError(f'device="{wanted}" is unavailable: {problem}; or pass device="cpu"')
        return Choice(wanted, f"device= was given, and {provider.title} works here")
    reasons = []
    for provider in _automatic():
        best = provider.automatic
        if precision not in ("auto", best):
            reason = f"precision {precision} was asked for; {provider.title} is chosen for {best}"
        elif best not in held:
            reason = f"the pack has no {best} graphs, and {provider.title} is chosen for those"
        elif problem := provider.problem():
            reason = problem
        else:
            reason = f"the pack has {best} graphs, and {provider.title} works here"
            return Choice(provider.device, reason)
        reasons.append(reason)
    return Choice("cpu", "; ".join(reasons))


def precisions_here() -> tuple[str, ...]:
    """What this machine would run of a pack by itself: an export's default.

    int8, which a CPU runs; with what other devices run that work here.
    """
    others = [p.automatic for p in _automatic() if p.automatic and p.problem() is None]
    return (*dict.fromkeys(others), "int8")


def _automatic() -> list[Provider]:
    """The devices that "auto" may take before the CPU."""
    return [provider for provider in PROVIDERS.values() if provider.automatic is not None]
