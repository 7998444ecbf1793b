"""Work done ahead: the next piece is worked on while the last one is used.

Takes pieces and what is to be done with each; gives the results, in order. At most one piece is
worked on ahead, in a thread of its own. Knows not what they are.
"""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def worked_ahead(
    pieces: Iterable[Piece], work: Callable[[Piece], Result]
) -> Generator[tuple[Piece, Result], None, None]:
    """Each piece with what `work` gave for it.

    Close it: it waits for the work that is under way.

    Raises:
        Exception: what `work` raised, in the place of its piece.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="embedge-ahead")

    def begin(piece: Piece) -> Future[Result]:
        try:
            return pool.submit(work, piece)
        except RuntimeError:  # no threads: the program ends, and waits for this one; or a limit
            done: Future[Result] = Future()
            done.set_result(work(piece))
            return done

    try:
        waiting: tuple[Piece, Future[Result]] | None = None
        for piece in pieces:
            last, waiting = waiting, (piece, begin(piece))  # one thread: it begins after the last
            if last is not None:
                yield last[0], last[1].result()
        if waiting is not None:
            yield waiting[0], waiting[1].result()
    finally:
        pool.shutdown(cancel_futures=True)
