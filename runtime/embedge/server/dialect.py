"""What a protocol is to the server: routes, and the form of its errors.

A dialect is one module in `dialects/` with an object that keeps the protocol `Dialect`. Most routes
turn a body into `Work`, have it embedded, and write what comes of it; `exchange` makes their
handler out of two pure functions. Others are coroutines that call the `Service` as often as they
like.

Several dialects may have a route of one path: `speaker` says which of them a request speaks.
Unknown fields of a request pass (clients send many); a known field with a value that would change
the vectors, and that cannot be done, is refused.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import ParamSpec, Protocol, TypeVar

from embedge.server.budget import Hold
from embedge.server.metrics import Metrics
from embedge.server.models import Models, Work
from embedge.server.refusals import Refusal
from embedge.server.settings import Settings
from embedge.server.work import Done

P = ParamSpec("P")
R = TypeVar("R")

JSON = "application/json"
RAW = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request, read whole."""

    method: str
    path: str  # without the prefix that named a model or a task
    query: Mapping[str, str]
    headers: Mapping[str, str]  # lower-case names
    body: bytes
    request_id: str
    client: str  # whom the request is counted for; never shown
    hold: Hold  # its share of the memory for requests; taken by `Service.embed`
    model: str | None = None  # what the path or the query string says
    task: str | None = None

    @property
    def wants_raw(self) -> bool:
        """Whether the client asks for float32 bytes in place of JSON; an extension of ours."""
        return RAW in self.headers.get("accept", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response, whole."""

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Service(Protocol):
    """What a handler may use of the server."""

    @property
    def settings(self) -> Settings:
        """The owner's choices."""

    @property
    def models(self) -> Models:
        """The packs."""

    @property
    def metrics(self) -> Metrics:
        """What is counted."""

    @property
    def routes(self) -> "tuple[Route, ...]":
        """All routes of the server."""

    @property
    def ready(self) -> bool:
        """Whether every task is warm, and the server is not about to close."""

    async def embed(self, work: Work, ask: Ask) -> Done:
        """Has a work done, in runs that it shares with others.

        Raises:
            Refusal: TOO_LONG, TOO_MANY, INVALID with the items; OVERLOADED; UNAVAILABLE; INTERNAL.
        """

    async def off_loop(
        self, size: int, function: Callable[P, R], *args: P.args, **options: P.kwargs
    ) -> R:
        """Runs a function of such a size (bytes) where it holds up no other request."""

    def healthy(self) -> bool:
        """Whether the packs' threads work."""


Handler = Callable[[Ask, Service], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One path of a protocol."""

    method: str
    path: str  # "/v1/embeddings"; {name} for a part that varies, given as `ask.query["name"]`
    handle: Handler
    summary: str  # for the API's description
    request: type | None = None  # what its body is, a msgspec Struct or another type msgspec knows
    answer: type | None = None  # what a 200 holds
    empty: bool = False  # 204 in its place
    open: bool = False  # asks for no key


class Dialect(Protocol):
    """A protocol."""

    @property
    def name(self) -> str:
        """In metrics and logs."""

    @property
    def routes(self) -> tuple[Route, ...]:
        """Its paths."""

    def error(self, refusal: Refusal, request_id: str) -> Answer:
        """The refusal as the protocol's clients read it."""
