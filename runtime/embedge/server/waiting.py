"""What waits to run, and whose turn it is: tickets, by client and by the length of their rows.

Each turn belongs to one ticket: clients take turns, and the tickets of one client take turns among
themselves. The turn's longest row leads a run, which is filled with rows of the same task and
about the same length, no matter who sent them. Knows no thread: who holds it keeps others out.
"""

import itertools
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedge.batches import Limits, run_around
from embedge.calls import Call

FEW = 16  # rows that are sorted in one by one

Rows = Sequence[NDArray[Any]]  # token ids (length,), or squares (size, size, 3)


class Ticket:
    """The rows of one request that run with one task and tower.

    Args:
        call: of the full width, not normalized; equal for all tickets that may share a run.
        rows: token ids, none empty; or squares.
        lengths: tokens of each row; of images what the caller counts them for.
        client: whose turn it takes.
        deliver: called from the queue's thread at the end, with the ticket.

    Attributes:
        vectors: float32 (n, D), whole once it is delivered and `error` is None.
        error: why there are no vectors.
        begun: when its first row ran, by time.monotonic(); 0.0 before.
        ended: when it was delivered.
        queued: when it was submitted.
    """

    def __init__(
        self,
        call: Call,
        rows: Rows,
        lengths: Sequence[int],
        *,
        client: str,
        width: int,
        deliver: Callable[["Ticket"], None],
    ) -> None:
        self.call = call
        self.rows = rows
        self.lengths = lengths
        self.client = client
        self.deliver = deliver
        self.vectors: NDArray[np.float32] = np.empty((len(rows), width), np.float32)
        self.error: Exception | None = None
        self.queued = self.begun = self.ended = 0.0
        self.gone = False  # the client left, or a row failed
        self.left = len(rows)
        self.waiting: list[Entry] = []  # rows that wait, the longest last


# A row that waits: its length, a number that is its own, whose it is, and which of the ticket's.
Entry = tuple[int, int, Ticket, int]


class Waiting:
    """The tickets that wait.

    Attributes:
        tokens: of all their rows; counted along, as each turn asks for it.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._shelves: dict[Call, _Shelf] = {}
        # By client; the next turn first in both.
        self._turns: OrderedDict[str, OrderedDict[Ticket, None]] = OrderedDict()
        self._numbers = itertools.count()
        self._purge = False  # some of what waits is gone

    def __bool__(self) -> bool:
        return bool(self._turns)

    def __iter__(self) -> Iterator[Ticket]:
        return (ticket for line in self._turns.values() for ticket in line)

    def sort(self, ticket: Ticket) -> list[Entry]:
        """The rows of a ticket in order; the slow part of `add`, for which nobody need wait."""
        order = sorted(range(len(ticket.rows)), key=ticket.lengths.__getitem__)
        return [(ticket.lengths[row], next(self._numbers), ticket, row) for row in order]

    def add(self, ticket: Ticket, entries: list[Entry]) -> None:
        """Adds a ticket with what `sort` made of it, and keeps that."""
        ticket.waiting = entries
        self._shelves.setdefault(ticket.call, _Shelf()).add(entries)
        self._turns.setdefault(ticket.client, OrderedDict())[ticket] = None
        self.tokens += sum(ticket.lengths)

    def take(self, limits: Limits, images_per_run: Callable[[], int]) -> tuple[Call, list[Entry]]:
        """The run of the next turn; its rows no longer wait."""
        client, line = next(iter(self._turns.items()))
        ticket = next(iter(line))
        shelf = self._shelves[ticket.call]
        lead = bisect_left(shelf.entries, ticket.waiting[-1])
        if ticket.call.tower == "text":
            places = run_around(shelf.lengths, lead, limits)
        else:
            places = slice(lead, lead + images_per_run())
        entries = shelf.take(places, lead)
        self.tokens -= sum(entry[0] for entry in entries)
        line.move_to_end(ticket)
        self._turns.move_to_end(client)
        for holder, taken in by_ticket(entries).items():
            if len(taken) == len(holder.waiting):
                holder.waiting = []
                self._leave_line(holder)
            else:
                numbers = {entry[1] for entry in taken}
                holder.waiting = [one for one in holder.waiting if one[1] not in numbers]
        if not shelf.entries:
            del self._shelves[ticket.call]
        return ticket.call, entries

    def drop(self, ticket: Ticket) -> int:
        """Nothing of a ticket waits any more; the tokens that did."""
        tokens = sum(entry[0] for entry in ticket.waiting)
        if ticket.waiting:
            ticket.waiting = []
            self._leave_line(ticket)
            self._purge = True
        self.tokens -= tokens
        return tokens

    def purge(self) -> None:
        """Forgets the rows of tickets that are gone: at once for all, as each costs a search."""
        if not self._purge:
            return
        self._purge = False
        for call, shelf in list(self._shelves.items()):
            shelf.purge()
            if not shelf.entries:
                del self._shelves[call]

    def _leave_line(self, ticket: Ticket) -> None:
        line = self._turns[ticket.client]
        del line[ticket]
        if not line:
            del self._turns[ticket.client]


class _Shelf:
    """Rows that wait for one task and tower, by length."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.lengths: list[int] = []

    def add(self, entries: list[Entry]) -> None:
        if len(entries) <= FEW:
            for entry in entries:
                place = bisect_left(self.entries, entry)
                self.entries.insert(place, entry)
                self.lengths.insert(place, entry[0])
        else:
            self.entries = sorted([*self.entries, *entries])
            self.lengths = [entry[0] for entry in self.entries]

    def take(self, places: slice, lead: int) -> list[Entry]:
        """Takes as many rows of each length as stand there, the lead among them.

        Of the shortest length, which may not be taken whole, those that have waited longest.
        """
        shortest = self.lengths[places.start]
        oldest = bisect_left(self.lengths, shortest)
        if shortest == self.lengths[lead]:
            oldest = places.start
        end = bisect_right(
            self.lengths, shortest, places.start, min(places.stop, len(self.lengths))
        )
        moved = end - places.start
        taken = self.entries[oldest : oldest + moved] + self.entries[end : places.stop]
        for part in (slice(end, places.stop), slice(oldest, oldest + moved)):
            del self.entries[part]
            del self.lengths[part]
        return taken

    def purge(self) -> None:
        self.entries = [entry for entry in self.entries if not entry[2].gone]
        self.lengths = [entry[0] for entry in self.entries]


def by_ticket(entries: Sequence[Entry]) -> dict[Ticket, list[Entry]]:
    """The rows of a run by the ticket they are of."""
    shares: dict[Ticket, list[Entry]] = {}
    for entry in entries:
        shares.setdefault(entry[2], []).append(entry)
    return shares
