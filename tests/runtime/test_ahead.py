"""Pieces that are worked on while others are used."""

import threading

import pytest

from embedge.ahead import worked_ahead


def test_results_come_in_order_and_one_piece_is_worked_on_ahead() -> None:
    begun: list[int] = []
    second = threading.Event()

    def work(piece: int) -> int:
        begun.append(piece)
        if piece == 1:
            second.set()
        return piece * 10

    done = worked_ahead(iter(range(4)), work)
    assert next(done) == (0, 0)
    assert second.wait(10)  # while the first is used
    assert begun == [0, 1]
    assert list(done) == [(1, 10), (2, 20), (3, 30)]
    assert list(worked_ahead([], work)) == []
    assert list(worked_ahead([7], work)) == [(7, 70)]


def test_what_fails_fails_in_its_place() -> None:
    def work(piece: int) -> int:
        if piece == 1:
            raise ZeroDivisionError
        return piece

    done = worked_ahead(range(3), work)
    assert next(done) == (0, 0)
    with pytest.raises(ZeroDivisionError):
        next(done)


def test_who_closes_it_waits_for_what_is_under_way() -> None:
    ended: list[int] = []
    go_on = threading.Event()

    def work(piece: int) -> int:
        if piece:
            go_on.wait(10)
        ended.append(piece)
        return piece

    done = worked_ahead(range(9), work)
    next(done)
    threading.Timer(0.05, go_on.set).start()
    done.close()
    assert ended == [0, 1]


def test_without_a_thread_the_work_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert list(worked_ahead(range(3), lambda piece: -piece)) == [(0, 0), (1, -1), (2, -2)]
