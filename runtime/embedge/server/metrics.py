"""What the server counts, as Prometheus reads it: a registry of its own, labels of bounded sets.

Labels are names of packs, tasks, towers, dialects, error kinds and statuses; never what a client
sends. Memory is read when it is asked for.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

M = TypeVar("M", Counter, Histogram)


class Metrics:
    """All counters of one server. Safe between threads."""

    def __init__(self) -> None:
        self._of: dict[tuple[Any, tuple[str, ...]], Any] = {}
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "embedge_requests",
            "Requests that were answered",
            ("dialect", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "embedge_request_seconds",
            "From a request's head to its answer",
            ("dialect",),
            buckets=SECONDS,
            registry=registry,
        )
        self.refusals = Counter(
            "embedge_refusals", "Requests refused, by reason", ("kind",), registry=registry
        )
        self.left = Counter(
            "embedge_clients_left", "Clients that left before their answer", registry=registry
        )
        self.not_http = Counter(
            "embedge_not_http", "Connections closed for what is not HTTP", registry=registry
        )
        self.items = Counter(
            "embedge_items", "Texts and images embedded", ("model", "tower"), registry=registry
        )
        self.tokens = Counter(
            "embedge_tokens", "Tokens that ran, without padding", ("model",), registry=registry
        )
        self.truncations = Counter(
            "embedge_truncations", "Texts that were cut", ("model",), registry=registry
        )
        self.preparing = Histogram(
            "embedge_prepare_seconds",
            "Tokenizing and decoding of one request",
            ("model",),
            buckets=SECONDS,
            registry=registry,
        )
        self.waiting = Histogram(
            "embedge_queue_seconds",
            "Until the first item of a request ran",
            ("model",),
            buckets=SECONDS,
            registry=registry,
        )
        self.run_seconds = Histogram(
            "embedge_run_seconds",
            "One run of a network",
            ("model", "task", "tower"),
            buckets=SECONDS,
            registry=registry,
        )
        self.run_items = Histogram(
            "embedge_run_items",
            "Items of one run",
            ("model", "tower"),
            buckets=COUNTS,
            registry=registry,
        )
        self.padding = Counter(
            "embedge_padding_tokens", "Padding that ran with them", ("model",), registry=registry
        )
        self.merged = Counter(
            "embedge_merged_runs",
            "Runs that several requests shared",
            ("model",),
            registry=registry,
        )
        self.queued = Gauge(
            "embedge_queue_tokens", "Tokens accepted and not done", ("model",), registry=registry
        )
        self.ready = Gauge("embedge_ready", "1 once all tasks are warm", registry=registry)
        self.bodies = Gauge(
            "embedge_body_bytes", "Bytes of requests that are under way", registry=registry
        )
        self.connections = Gauge("embedge_connections", "Open connections", registry=registry)
        memory = Gauge("embedge_memory_bytes", "Resident memory of the process", registry=registry)
        memory.set_function(resident_bytes)
        self._packs = Info(
            "embedge_pack",
            "What is served, and the device and precision in use",
            ("model",),
            registry=registry,
        )

    def describe_pack(
        self, name: str, *, device: str, precision: str, queued: Callable[[], float]
    ) -> None:
        """Adds a pack, and where to read how much it has to do."""
        self._packs.labels(name).info({"device": device, "precision": precision})
        self.queued.labels(name).set_function(queued)

    def of(self, metric: M, *labels: str) -> M:
        """A metric's child for some labels, which the library looks up under a lock each time."""
        child: M | None = self._of.get((metric, labels))
        if child is None:
            child = self._of[metric, labels] = metric.labels(*labels)
        return child

    def text(self) -> bytes:
        """All of them in Prometheus's text form."""
        return generate_latest(self.registry)


def resident_bytes() -> float:
    """Memory of this process that is in RAM; 0 where it is not known."""
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123 - not a user's
            pages = int(stream.read().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    import resource

    return float(pages * resource.getpagesize())
