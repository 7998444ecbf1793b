"""The queue: which rows run together, whose turn it is, and what becomes of those who leave.

The encoder is a fake that notes its runs and waits until the test lets it go on.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.batches import LONG, Limits, cost, plan, run_around
from embedge.calls import Call
from embedge.errors import CancelledError, ClosedError, MemoryLimitError, NonFiniteError
from embedge.pack.manifest import MemoryCost
from embedge.server.metrics import Metrics
from embedge.server.queue import Queue
from embedge.server.refusals import Kind, Refusal
from embedge.server.waiting import Ticket, Waiting
from support.serving import wait_for

CALL = Call(
    task="a",
    tower="text",
    width=1,
    normalize=False,
    embedding_type="float32",
    ranges=None,
    prompt="",
    max_length=1000,
    on_overflow="error",
    upright=True,
    allow_urls=False,
)
LIMITS = Limits(
    token_budget=100, memory=MemoryCost(per_token=1, per_token_squared=0), memory_limit=900
)
BAD = 666  # a token whose row is NaN
HUGE = 777  # one for which there is no memory


class Encoder:
    """Gives the first token of each row; runs while `gate` is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.runs: list[tuple[str, list[int]]] = []  # the task, and the first token of each row
        self.cancelled = 0

    def limits(self) -> Limits:
        return LIMITS

    def warm_up(self, call: Call) -> None:
        pass

    def images_per_run(self) -> int:
        return 2

    def run_ids(
        self, call: Call, ids: Sequence[Any], *, cancel: threading.Event
    ) -> np.ndarray[Any, Any]:
        self.runs.append((call.task, [int(row[0]) for row in ids]))
        while not self.gate.wait(0.005):
            if cancel.is_set():
                self.cancelled += 1
                raise CancelledError("cancelled")
        firsts = np.array([[row[0]] for row in ids], np.float32)
        if (firsts == HUGE).any():
            raise MemoryLimitError("there is none left")
        if (firsts == BAD).any():
            raise NonFiniteError("NaN")
        return firsts

    run_squares = run_ids


class Case:
    """A queue at work, and what it delivered."""

    def __init__(self, **options: Any) -> None:
        self.encoder = Encoder()
        self.delivered: list[Ticket] = []
        options = {"most_tokens": 10_000, "most_seconds": 60} | options
        encoder: Any = self.encoder
        self.queue = Queue("tiny", encoder, [CALL], metrics=Metrics(), **options)
        self.queue.start()
        assert self.queue.ready.wait(10)

    def submit(
        self, *rows: tuple[int, int], client: str = "one", task: str = "a", tower: Any = "text"
    ) -> Ticket:
        """A ticket of rows, each its first token and its length."""
        ids = [np.full(length, first, np.int32) for first, length in rows]
        call = replace(CALL, task=task, tower=tower)
        lengths = [length for _, length in rows]
        deliver = self.delivered.append
        ticket = Ticket(call, ids, lengths, client=client, width=1, deliver=deliver)
        self.queue.submit(ticket)
        return ticket

    def hold(self) -> Ticket:
        """Lets a run begin that goes on until the gate opens."""
        self.encoder.gate.clear()
        before = len(self.encoder.runs)
        ticket = self.submit((1000 + before, 1), client="holder", task="held")
        wait_for(lambda: len(self.encoder.runs) > before)
        return ticket

    def finish(self, *tickets: Ticket) -> list[tuple[str, list[int]]]:
        """Opens the gate and waits for tickets; the runs but those that were held."""
        self.encoder.gate.set()
        wait_for(lambda: all(ticket.ended for ticket in tickets))
        return [run for run in self.encoder.runs if run[0] != "held"]


@pytest.fixture
def make() -> Iterator[Callable[..., Case]]:
    cases: list[Case] = []

    def one(**options: Any) -> Case:
        cases.append(Case(**options))
        return cases[-1]

    yield one
    for case in cases:
        case.encoder.gate.set()
        case.queue.close()
        assert case.queue.join(10)


@pytest.fixture
def case(make: Callable[..., Case]) -> Case:
    return make()


def test_what_waits_meanwhile_runs_together(case: Case) -> None:
    case.hold()
    tickets = [case.submit((n, 10), client=str(n % 2)) for n in range(5)]
    assert case.finish(*tickets) == [("a", [0, 1, 2, 3, 4])]
    assert [ticket.vectors.tolist() for ticket in tickets] == [[[float(n)]] for n in range(5)]


def test_tasks_and_towers_do_not_share_a_run(case: Case) -> None:
    case.hold()
    tickets = [case.submit((n, 1), task=task) for n, task in enumerate("abab")]
    images = [case.submit((n, 4000), tower="image") for n in range(3)]
    runs = case.finish(*tickets, *images)
    assert sorted(runs) == [("a", [0, 1]), ("a", [0, 2]), ("a", [2]), ("b", [1, 3])]


def test_rows_of_a_request_come_back_in_its_order(case: Case) -> None:
    case.hold()
    rows = [(n, 1 + n * 7 % 50) for n in range(40)]
    ticket = case.submit(*rows)
    runs = case.finish(ticket)
    assert ticket.vectors[:, 0].tolist() == list(range(40))
    lengths = dict(rows)
    for _, run in runs:
        assert cost(len(run), max(lengths[n] for n in run)) <= LIMITS.token_budget
    expected = plan([length for _, length in rows], LIMITS)
    assert len(runs) == len(expected)  # one request alone is cut as the library cuts it


@pytest.mark.parametrize("client", ["one", "other"])
def test_a_short_request_waits_for_one_run_of_a_long_one(case: Case, client: str) -> None:
    case.hold()
    long = case.submit(*[(n, 80) for n in range(20)], client="one")
    short = case.submit((99, 2), client=client)
    runs = case.finish(long, short)
    assert [99] in [run for _, run in runs[:2]]
    assert len(runs) == 21


def test_of_rows_of_one_length_the_oldest_fill_a_run(case: Case) -> None:
    """They wait behind those that came after them, by length alone."""
    case.hold()
    lead = case.submit((0, 5), client="lead")
    short = [case.submit((1 + n, 4), client=f"client {n}") for n in range(40)]
    first, second = (sorted(rows) for _, rows in case.finish(lead, *short))
    assert 10 < len(first) < 30
    assert first + second == list(range(41))


def test_what_waits_is_counted_along() -> None:
    dice = random.Random(5)
    waiting = Waiting()
    for step in range(300):
        tickets = list(waiting)
        what = dice.random()
        if what < 0.5 or not tickets:
            lengths = [dice.randrange(1, 90) for _ in range(dice.randrange(1, 40))]
            rows = [np.zeros(length, np.int32) for length in lengths]
            client = f"client {step % 3}"
            ticket = Ticket(CALL, rows, lengths, client=client, width=1, deliver=lambda _: None)
            waiting.add(ticket, waiting.sort(ticket))
        elif what < 0.6:
            dropped = dice.choice(tickets)
            dropped.gone = True
            waiting.drop(dropped)
            waiting.purge()
        else:
            waiting.take(LIMITS, lambda: 2)
        assert waiting.tokens == sum(entry[0] for ticket in waiting for entry in ticket.waiting)
    while waiting:
        waiting.take(LIMITS, lambda: 2)
    assert waiting.tokens == 0


def test_clients_take_turns(case: Case) -> None:
    case.hold()
    many = [case.submit((n, 80), client="greedy") for n in range(10)]
    few = [case.submit((n, 80), client="modest") for n in (100, 101)]
    runs = [run[0] for _, run in case.finish(*many, *few)]
    assert {100, 101} <= set(runs[:4])


def test_a_large_request_that_left_runs_no_more(case: Case) -> None:
    case.hold()
    gone = case.submit(*[(n, 80) for n in range(20)])
    stays = case.submit((99, 80))
    case.queue.withdraw(gone)
    assert case.finish(stays) == [("a", [99])]
    assert gone not in case.delivered
    wait_for(lambda: case.queue.tokens == 0)


def test_a_run_is_stopped_where_nobody_waits_for_any_of_it(case: Case) -> None:
    case.encoder.gate.clear()
    first = case.submit((1, 5))
    wait_for(lambda: case.encoder.runs)
    second, third = case.submit((2, 5)), case.submit((3, 5))
    case.queue.withdraw(first)
    wait_for(lambda: case.encoder.runs[1:])  # the first run was stopped
    case.queue.withdraw(second)
    assert case.encoder.cancelled == 1
    assert case.finish(third)[-1] == ("a", [2, 3])
    assert case.delivered == [third]
    wait_for(lambda: case.queue.tokens == 0)


def test_a_row_that_fails_fails_its_request_alone(case: Case) -> None:
    case.hold()
    good, bad = case.submit((1, 5), (2, 5)), case.submit((3, 5), (BAD, 5), (4, 80))
    case.finish(good, bad)
    assert good.error is None
    assert good.vectors[:, 0].tolist() == [1, 2]
    assert isinstance(bad.error, Refusal)
    assert bad.error.items == (1,)
    assert case.queue.healthy
    wait_for(lambda: case.queue.tokens == 0)


def test_a_lack_of_memory_passes(case: Case) -> None:
    case.hold()
    good, bad = case.submit((1, 5)), case.submit((HUGE, 5))
    case.finish(good, bad)
    assert good.error is None
    assert isinstance(bad.error, Refusal)
    assert bad.error.kind is Kind.OVERLOADED
    assert case.queue.healthy


def test_a_row_beyond_the_memory_limit_is_refused(case: Case) -> None:
    with pytest.raises(Refusal, match="a text of 901 tokens") as refused:
        case.submit((1, 901))
    assert refused.value.kind is Kind.INVALID
    assert "=" not in refused.value.message  # the client knows none of Python's arguments
    assert case.queue.tokens == 0


def test_what_is_accepted_is_bounded(make: Callable[..., Case]) -> None:
    case = make(most_tokens=100)
    with case.queue.admitted(1000):  # one alone may be larger
        with pytest.raises(Refusal) as refused, case.queue.admitted(1):
            pass
        assert refused.value.kind is Kind.OVERLOADED
        assert 1 <= (refused.value.retry_after or 0) <= 120
    with case.queue.admitted(1):
        pass
    assert case.queue.tokens == 0


def test_a_wait_that_would_be_too_long_is_refused(make: Callable[..., Case]) -> None:
    case = make(most_seconds=1e-9)
    case.finish(case.submit((1, 5)))  # from now on the speed is known
    case.hold()
    with pytest.raises(Refusal) as refused, case.queue.admitted(1):
        pass
    assert refused.value.kind is Kind.OVERLOADED


def test_closing_answers_all_who_wait(case: Case) -> None:
    held = case.hold()
    waiting = case.submit((1, 5))
    case.queue.close()
    assert case.queue.join(10)
    assert isinstance(waiting.error, ClosedError)
    assert isinstance(held.error, ClosedError)
    assert {*case.delivered} == {held, waiting}
    assert not case.queue.healthy
    with pytest.raises(ClosedError):
        case.submit((1, 5))
    with pytest.raises(Refusal) as refused, case.queue.admitted(1):
        pass
    assert refused.value.kind is Kind.UNAVAILABLE


def test_a_pack_that_cannot_be_loaded_is_a_failure(make: Callable[..., Case]) -> None:
    class Broken(Encoder):
        def warm_up(self, call: Call) -> None:
            raise ClosedError("broken")

    broken: Any = Broken()
    queue = Queue("x", broken, [CALL], most_tokens=1, most_seconds=1, metrics=Metrics())
    queue.start()
    assert queue.ready.wait(10)
    assert queue.join(10)
    assert isinstance(queue.failure, ClosedError)
    assert not queue.healthy


lengths = st.lists(
    st.one_of(st.integers(1, 60), st.integers(LONG - 2, LONG + 40)), min_size=1, max_size=40
)


@given(lengths=lengths, data=st.data(), budget=st.integers(1, 4000))
def test_a_run_around_a_text_is_one_of_the_librarys(
    lengths: list[int], data: st.DataObject, budget: int
) -> None:
    limits = replace(LIMITS, token_budget=budget, memory_limit=None)
    waiting = sorted(lengths)
    position = data.draw(st.integers(0, len(waiting) - 1))
    places = run_around(waiting, position, limits)
    assert places.start <= position < places.stop
    assert len(plan(waiting[places], limits)) == 1


@given(lengths=lengths)
def test_from_the_longest_text_on_a_run_is_that_of_the_plan(lengths: list[int]) -> None:
    waiting = sorted(lengths)
    limits = replace(LIMITS, memory_limit=None)
    places = run_around(waiting, len(waiting) - 1, limits)
    assert places.stop - places.start == len(plan(waiting, limits)[0])
