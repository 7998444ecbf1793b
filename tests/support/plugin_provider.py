"""A third device in one file: a plugin of ONNX Runtime's, as embedge would take one.

Plugins put themselves on `SessionOptions` by the devices that they list. Here the device is ONNX
Runtime's own CPU, listed the same way, so that graphs really run by that road.
"""

from typing import Any

from embedge.choice import Choice
from embedge.engine.loading import load_runtime
from embedge.engine.providers.provider import Provider
from embedge.pack.manifest import Manifest
from embedge.run_cost import RunCost, cpu_run_cost


class Plugin(Provider):
    """The devices that a plugin's execution provider lists."""

    device = "plugin"
    title = "the plugin"
    hardware = "the plugin's device"
    execution_provider = "CPUExecutionProvider"
    pool = "cpu:0"
    precisions = ("fp32", "fp16")
    automatic = "fp16"
    accelerator = False
    failure_signs = ("PluginError",)
    full_run = None
    images_per_run = 4
    image_decoders = 1

    def problem(self) -> str | None:
        """A plugin that finds no device it knows lists none."""
        if self._listed():
            return None
        return f"{self.execution_provider} lists no device on this machine"

    def place(self, options: Any, *, memory: int | None) -> list[Any] | None:
        """By devices instead of names."""
        options.add_provider_for_devices(self._listed(), {})
        return None

    def run_cost(self, manifest: Manifest, *, precision: str) -> RunCost:
        """As on the CPU."""
        return cpu_run_cost(manifest, blocks=False)

    def memory_limit(
        self, argument: float | str | None, *, weights: int, full_run: float
    ) -> Choice[int | None]:
        """Not bounded."""
        return Choice(None, "for the test")

    def _listed(self) -> list[Any]:
        return [
            device
            for device in load_runtime().get_ep_devices()
            if device.ep_name == self.execution_provider
        ]
