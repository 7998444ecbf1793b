"""Calls under way of something that can be closed: they end well, later ones are refused.

Closing frees at once where nothing is under way, else at the end of the last call. Nobody waits:
`close` may come from a callback of the very call that is under way. Knows nothing of what a call
does.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from embedge.errors import ClosedError
from embedge.fork_locks import ForkLock
from embedge.habits import unknown_keyword

P = ParamSpec("P")
R = TypeVar("R")


class Lifetime:
    """The calls of one object, until it is closed and the last of them has ended.

    Args:
        refusal: the message for a call after `close`.
        free: gives back what the calls use; called once, with no call under way.
    """

    def __init__(self, refusal: str, free: Callable[[], None]) -> None:
        self._refusal = refusal
        self._free = free
        self._lock = ForkLock()
        self._under_way = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def check_open(self) -> None:
        """Refuses work after `close`.

        Raises:
            ClosedError: `close` was called.
        """
        if self._closed:
            raise ClosedError(self._refusal)

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Around one call.

        Raises:
            ClosedError: `close` was called before.
        """
        with self._lock:
            self.check_open()
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                last = self._closed and self._under_way == 0
            if last:
                self._free()

    def close(self) -> None:
        """Lets no further call begin; again, it does nothing."""
        with self._lock:
            idle = not self._closed and self._under_way == 0
            self._closed = True
        if idle:
            self._free()


class _HasLifetime(Protocol):
    _lifetime: Lifetime


S = TypeVar("S", bound=_HasLifetime)


def counted(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that is one call of its object's `_lifetime`; it names the right keyword too."""

    @functools.wraps(method)
    def call(self: S, /, *args: P.args, **options: P.kwargs) -> R:
        with _explaining(method, options), self._lifetime.one():
            return method(self, *args, **options)

    return call


def explained(method: Callable[P, R]) -> Callable[P, R]:
    """A constructor, or any function, whose error for an unknown keyword names the right one."""

    @functools.wraps(method)
    def call(*args: P.args, **options: P.kwargs) -> R:
        with _explaining(method, options):
            return method(*args, **options)

    return call


@contextlib.contextmanager
def _explaining(function: Callable[..., Any], given: Iterable[str]) -> Iterator[None]:
    """Around a call with these keywords: the error for an unknown one names the right one."""
    try:
        yield
    except TypeError:
        if (error := unknown_keyword(function, given)) is None:
            raise
        raise error from None
