"""The CPU: it is always there, and what a run may take follows from its caches and free memory."""

import os
import re
from typing import Any

from embedge.choice import Choice
from embedge.engine import loading
from embedge.engine.providers.provider import Provider
from embedge.machine import resources
from embedge.pack.manifest import Manifest
from embedge.run_cost import RunCost, cpu_run_cost

# From this version on, the CPU's GroupQueryAttention works in blocks where the node names its
# present outputs, as the exporter's do. Before, it holds the full square of scores for every head:
# 4,096 tokens, 16 heads, one layer took 1,168 MB on 1.23 to 1.27, and 144 MB on 1.28 to 1.31.
BLOCKWISE_ATTENTION = (1, 28)


class Cpu(Provider):
    """ONNX Runtime's own provider."""

    device = "cpu"
    title = hardware = "the CPU"
    execution_provider = loading.CPU
    pool = "cpu:0"
    precisions = ("int8", "fp32", "int4")
    accelerator = False
    full_run = None
    # One of 512 x 512 pixels is about 1,300 tokens to its network: it keeps a CPU busy, and leaves
    # its caches with those of a second (1.42 s an image alone, 1.65 s in fours: Xeon, 2 threads).
    images_per_run = 1
    image_decoders = 2  # the network takes seconds an image, and has the cores

    def problem(self) -> str | None:
        """None: every ONNX Runtime has it."""
        return None

    def place(self, options: Any, *, memory: int | None) -> list[Any] | None:
        """See `Provider.place`; the system's memory is not bounded here."""
        return [loading.CPU]

    def run_cost(self, manifest: Manifest, *, precision: str) -> RunCost:
        """The pack's own estimate, which is of a CPU run."""
        return cpu_run_cost(manifest, blocks=attends_in_blocks())

    def memory_limit(
        self, argument: float | str | None, *, weights: int, full_run: float
    ) -> Choice[int | None]:
        """By what the system has free."""
        return resources.choose_memory_limit(
            argument,
            environment=os.environ,
            available=resources.read_available_memory(),
            reserved=weights,
        )


def attends_in_blocks() -> bool:
    """Whether attention's memory grows with a text's length here, not with its square."""
    version = re.match(r"(\d+)\.(\d+)", loading.load_runtime().__version__)
    return version is not None and (int(version[1]), int(version[2])) >= BLOCKWISE_ATTENTION
