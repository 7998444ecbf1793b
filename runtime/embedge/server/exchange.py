"""The handler of a route that embeds what its body holds, made of two pure functions.

    def read(ask: Ask, service: Service) -> Asked: ...  # by `decoding` and `Model.work`
    def write(asked: Asked, done: Done) -> Answer: ...

    Route("POST", "/embed", exchange(read, write), summary="…", request=EmbedRequest)

Both run off the event loop where the body or the answer is large. A client that accepts
application/octet-stream gets the vectors as bytes, whatever the protocol: an extension of ours.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from embedge.server.answers import raw_answer
from embedge.server.dialect import Answer, Ask, Handler, Service
from embedge.server.models import Work
from embedge.server.work import Done


class Asked(Protocol):
    """What a body asks for: the work, and whatever else its answer needs."""

    @property
    def work(self) -> Work:
        """What to embed."""


A = TypeVar("A", bound=Asked)


def exchange(read: Callable[[Ask, Service], A], write: Callable[[A, Done], Answer]) -> Handler:
    """A handler: read the body, embed, write the answer."""

    async def handle(ask: Ask, service: Service) -> Answer:
        asked = await service.off_loop(len(ask.body), read, ask, service)
        done = await service.embed(asked.work, ask)
        if ask.wants_raw:
            return await service.off_loop(done.vectors.nbytes // 8, raw_answer, done)
        return await service.off_loop(done.vectors.nbytes, write, asked, done)

    return handle
