"""The memory of all runs of one embedder: what they may take together, whatever threads call it.

Takes the bytes that each run is estimated to need (`batches`), and lets it begin once they are
free, in the order of asking. A run alone always begins, also one that was estimated at more than
the limit: whether it may run at all is decided before. Weights are not counted.

A network keeps its pool of memory from one run to the next where it is known that one follows:
taking it anew each time costs time, and leaves as much behind in the C library for every thread
that ran (16 threads whose runs took turns within 140 MiB held 700 MiB, and hold 100 MiB with a
pool that stays). The pool counts as well; who needs its memory has it freed.

A GPU's pool always stays, since giving it back stops the GPU, and grows with every run that is
larger than those before (`run_cost`). It is given back where it has no room for the next run.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from embedge.errors import CancelledError
from embedge.fork_locks import ForkLock, open_in_children
from embedge.machine.heap import give_back

# Seconds; how late a cancel may be noticed, and, on Windows, Ctrl-C where nothing can cancel.
CANCEL_POLL, POLL = 0.02, 1.0


class Pooling(Protocol):
    """A network that can keep a pool of memory between runs."""

    def free(self) -> None:
        """Gives the pool back; it may run meanwhile."""


class _Run:
    """One run: of which network, what it needs, and whether it may begin."""

    def __init__(self, network: Pooling, needed: float) -> None:
        self.network = network
        self.needed = needed
        self.begins = threading.Event()
        self.keeps = False  # whether the network keeps its pool after it


@dataclass(frozen=True, slots=True)
class _Pool:
    """What a network keeps between runs: bytes, and those of the largest run that it served."""

    size: float
    largest: float


class RunMemory:
    """The memory that the runs of one embedder share. Safe between threads.

    First come, first served: a small run does not overtake a large one that waits, so that none
    waits for ever. A forked child begins with nothing held.

    Args:
        limit: bytes; None for no limit, where nothing waits.
        grows: whether networks always keep their pools, which grow with larger runs, as a GPU's do.
    """

    def __init__(self, limit: int | None, *, grows: bool = False) -> None:
        self._grows = grows
        self._limit = float("inf") if limit is None else limit
        self._lock = ForkLock()  # guards all below
        self._running: list[_Run] = []
        self._waiting: deque[_Run] = deque()
        self._pools: dict[Pooling, _Pool] = {}  # of networks that keep one
        open_in_children(self)

    @contextlib.contextmanager
    def hold(
        self,
        network: Pooling,
        needed: float,
        *,
        more: bool = False,
        cancel: threading.Event | None = None,
    ) -> Iterator[bool]:
        """Around one run; it must not ask for another within.

        Args:
            network: what runs.
            needed: bytes that the run is estimated to take.
            more: whether the caller is sure to run the same network again, at once.
            cancel: set by another thread to stop waiting.

        Yields:
            Whether the network has to keep its pool after the run.

        Raises:
            CancelledError: `cancel` was set while it waited.
        """
        run = _Run(network, needed)
        try:
            with self._lock:
                self._waiting.append(run)
                self._begin_next()
            while not run.begins.wait(POLL if cancel is None else CANCEL_POLL):
                if cancel is not None and cancel.is_set():
                    raise CancelledError("cancelled while it waited for the memory of other runs")
            for other in self._take_pools(run):
                other.free()
            run.keeps = self._is_followed(run, more)
            yield run.keeps
        finally:
            if run.begins.is_set() and self._waiting and not run.keeps:
                give_back()  # what waits may run in other threads, which cannot use what is left
            with self._lock:
                self._end(run)
                self._begin_next()

    def set_apart(self, size: float) -> bool:
        """Takes memory from the runs' for good, if half of it stays; whether it did."""
        with self._lock:
            if size > self._limit / 2:
                return False
            self._limit -= size
            return True

    def free(self, network: Pooling) -> None:
        """Frees the pool of a network that did not run again as it was to, unless others do."""
        with self._lock:
            used = any(run.network is network for run in (*self._running, *self._waiting))
            kept = not used and self._pools.pop(network, None) is not None
        if kept:
            network.free()

    def open(self) -> None:
        """Forgets all runs: in a forked child, where the threads that ran them do not exist."""
        self._running.clear()
        self._waiting.clear()

    def _begin_next(self) -> None:
        """Lets those begin that fit, the first first; with the lock held."""
        while self._waiting:
            run = self._waiting[0]
            if self._running and self._needed(*self._running, run) > self._limit:
                return
            self._running.append(self._waiting.popleft())
            run.begins.set()

    def _end(self, run: _Run) -> None:
        """Takes a run away, that ran or not; with the lock held."""
        if run in self._waiting:
            self._waiting.remove(run)
        elif run in self._running:  # not in a child that was forked within
            if run.keeps:
                own = [other for other in self._running if other.network is run.network]
                taken = sum(other.needed for other in own)
                pool = self._pools.get(run.network, _Pool(0, 0))
                size = self._needed(*own)
                self._pools[run.network] = _Pool(size, max(taken, pool.largest))
            else:
                self._pools.pop(run.network, None)
            self._running.remove(run)

    def _needed(self, *runs: _Run) -> float:
        """Bytes that these runs need together; a network's runs use its pool first."""
        needed: dict[Pooling, float] = {}
        for run in runs:
            needed[run.network] = needed.get(run.network, 0) + run.needed
        return sum(self._with_pool(network, size) for network, size in needed.items())

    def _with_pool(self, network: Pooling, size: float) -> float:
        """Bytes of a network's pool once runs of so many bytes took theirs from it."""
        pool = self._pools.get(network, _Pool(0, 0))
        if self._grows and size > pool.largest:
            return pool.size + size
        return max(size, pool.size)

    def _take_pools(self, run: _Run) -> list[Pooling]:
        """The networks whose pools have to go for a run that begins; off the list from now on.

        Those that do not run; then the run's own, where that grows and nothing else runs in it.
        """
        with self._lock:
            running = [other.network for other in self._running]
            gone = [network for network in self._pools if network not in running]
            taken = sum(self._pools[network].size for network in gone)
            needed = self._needed(*self._running)
            if taken + needed <= self._limit:
                return []
            own = self._grows and run.network in self._pools and running.count(run.network) == 1
            if own and needed > self._limit:
                gone.append(run.network)
            for network in gone:
                del self._pools[network]
            return gone

    def _is_followed(self, run: _Run, more: bool) -> bool:
        """Whether a run of the same network follows at once, and none of another waits.

        Or the pool stays whatever follows.
        """
        if self._grows:
            return True
        with self._lock:
            alone = all(other.network is run.network for other in self._waiting)
            return alone and (more or bool(self._waiting))
