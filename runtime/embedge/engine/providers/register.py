"""The devices that embedge runs on: a new one is a file beside this, and a line here."""

from embedge.engine.providers.cpu import Cpu
from embedge.engine.providers.cuda import Cuda
from embedge.engine.providers.provider import Provider

# By the name that `device=` takes; "auto" takes the first that suits, and the CPU else.
PROVIDERS: dict[str, Provider] = {provider.device: provider for provider in (Cpu(), Cuda())}


def provider_of(device: str) -> Provider:
    """The provider of a device, by its name."""
    return PROVIDERS[device]
