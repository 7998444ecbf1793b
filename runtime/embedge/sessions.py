"""A pack's networks, one session a graph.

Takes a pack and the choices made for it; gives sessions by task and tower. Each is opened when it
is first asked for, after its files were checked: a caller that embeds
texts only never loads an image tower, and the other way round. Runs nothing.
"""

from functools import partial
from pathlib import Path
from typing import Any

from embedge.choices import Choices
from embedge.engine.background import BackgroundSession
from embedge.engine.kernels import INEXACT, integer_kernel
from embedge.engine.prepared import prepared_graph
from embedge.engine.providers.provider import CapturedRuns
from embedge.engine.session import OnnxSession, Session
from embedge.errors import DeviceError
from embedge.fork_locks import ForkLock
from embedge.machine.priority import LowThreads
from embedge.pack.files import Pack, check_files, check_references
from embedge.pack.manifest import Graph

POOL_SLACK = 64 * 2**20  # bytes: constants of a graph, and what operators take for themselves


class Sessions:
    """The open sessions of a pack. Safe between threads.

    Args:
        pack: where the graphs stand.
        choices: how to run them.
        arena: keep ONNX Runtime's memory pool between runs.
        spin: keep threads awake between the pieces of a run.
        prepared: folder for graphs in this machine's own form (engine/prepared.py); None for none.
    """

    def __init__(
        self,
        pack: Pack,
        choices: Choices,
        *,
        arena: bool,
        spin: bool,
        prepared: Path | None,
    ) -> None:
        self._pack = pack
        self._choices = choices
        self._arena = arena
        self._spin = spin
        self._prepared = prepared
        self._lock = ForkLock()
        self._low = LowThreads()  # none yet
        self._open: dict[str, Session] = {}  # by graph file

    def get(self, task: str, tower: str) -> Session:
        """The session of a task's tower, opened now if it is not.

        Raises:
            PackFileError: a file is not what the manifest says, or the graph cannot be loaded.
            DeviceError: the graph would give wrong vectors here, or the device fails.
            MemoryLimitError: there is not enough memory to load it.
        """
        precision = self._choices.precision.value
        graph = self._pack.manifest.graph(task=task, precision=precision, tower=tower)
        with self._lock:
            if graph.file not in self._open:
                if self._choices.priority.value == "low":
                    opened = self._low.call(partial(self._load, graph, tower))
                    session: Session = BackgroundSession(opened, self._low)
                else:
                    session = self._load(graph, tower)
                self._open[graph.file] = session
            return self._open[graph.file]

    def capturable(self, task: str) -> CapturedRuns:
        """Captured runs of a task's text network, none yet; its files were checked by `get`."""
        return self._choices.provider.captured(
            self._pack.file(self._text_graph(task).file),
            threads=self._choices.threads.value,
            memory=self.capturable_size(task),
        )

    def capturable_size(self, task: str) -> int:
        """Bytes of the GPU's memory that `capturable` may take: mostly a second copy of weights."""
        return 2 * POOL_SLACK + self._pack.manifest.graph_size(self._text_graph(task))

    def _text_graph(self, task: str) -> Graph:
        precision = self._choices.precision.value
        return self._pack.manifest.graph(task=task, precision=precision, tower="text")

    def close(self) -> None:
        """Lets the networks go; with no run under way. A later run would open them again."""
        with self._lock:
            self._open.clear()
            self._low.close()

    def _load(self, graph: Graph, tower: str) -> Session:
        return open_session(
            self._check(graph),
            tower=tower,
            device=self._choices.device.value,
            threads=self._choices.threads.value,
            arena=self._arena,
            spin=self._spin,
            memory=self._pool_limit(graph),
        )

    def _pool_limit(self, graph: Graph) -> int | None:
        """Bytes that a GPU's pool may take for a graph: its weights, and what runs may."""
        limit = self._choices.memory_limit.value
        if limit is None or not self._choices.provider.accelerator:
            return None
        return limit + POOL_SLACK + self._pack.manifest.graph_size(graph)

    def _check(self, graph: Graph) -> Path:
        """The file of a graph, once everything that it needs was checked."""
        check_files(self._pack, (graph.file, *graph.data))
        check_references(self._pack, graph)
        if graph.precision == "int8" and integer_kernel().value == INEXACT:
            raise DeviceError(f"int8 would be wrong here: {integer_kernel().reason}")
        path = self._pack.file(graph.file)
        if self._prepared is None:
            return path
        files = self._pack.manifest.files
        identity = " ".join(files[name].sha256 for name in (graph.file, *graph.data))
        threads = self._choices.threads.value
        return prepared_graph(path, identity, self._prepared, threads=threads)


def open_session(graph: Path, **options: Any) -> Session:
    """Opens a graph; the options of `OnnxSession`. The one seam where tests put a fake network."""
    return OnnxSession(graph, **options)
