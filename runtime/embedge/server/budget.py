"""How many bytes all requests under way may hold together: their bodies, and their answers.

One request is bounded by itself; this bounds what thousands hold at a time. For use in the event
loop's thread alone.
"""

from embedge.server.refusals import Kind, Refusal


class Budget:
    """The bytes of all requests.

    Args:
        most: at a time; one request alone may hold more, so that each can be served.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0

    def hold(self) -> "Hold":
        """What a new request holds: nothing yet."""
        return Hold(self)

    def take(self, size: int, *, own: int) -> None:
        """Takes bytes, for a request that has `own` already.

        Raises:
            Refusal: OVERLOADED, the others hold too many.
        """
        others = self.held - own
        if others and self.held + size > self._most:
            raise Refusal(
                Kind.OVERLOADED,
                f"requests under way hold {self.held:,} bytes, and {self._most:,} are the most; "
                "try again in 5 s",
                retry_after=5,
            )
        self.held += size


class Hold:
    """The bytes of one request."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    def more(self, size: int) -> None:
        """Takes bytes; see `Budget.take`."""
        self._budget.take(size, own=self._size)
        self._size += size

    def release(self) -> None:
        """Gives all of them back; again, it does nothing."""
        self._budget.held -= self._size
        self._size = 0
