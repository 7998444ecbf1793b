"""The load that `make bench-server` puts on a server, and what it says of it."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from bench.server.contenders import Contender
from bench.server.load import CUT, LEFT, Load, parse_head, put_on
from bench.server.report import Result, bars_table, load_table
from bench.server.texts import short_texts

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CONTENDER = Contender("it", lambda port: [], "/v1/embeddings", "/ready", "model", "prompt: ")


def loaded(handler: Handler, *, clients: int = 3, seconds: float = 0.2, **options: bool) -> Load:
    """The load of a server that is a function of one connection."""

    async def run() -> Load:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            requests = [CONTENDER.request([text]) for text in short_texts(5)]
            return await put_on(port, requests, clients=clients, seconds=seconds, **options)

    return asyncio.run(run())


async def read(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(parse_head(head.replace(b"POST", b"HTTP/1.1 0"))[1])


def test_every_answer_is_counted_with_its_time() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            body = json.loads(await read(reader))
            assert body["input"][0].startswith("prompt: ")
            writer.write(OK[:20])  # in two parts
            await writer.drain()
            await asyncio.sleep(0.001)
            writer.write(OK[20:])

    load = loaded(answer)
    assert set(load.statuses) == {200}
    assert load.statuses[200] == len(load.latencies) > 3
    assert not load.failures
    assert 0 < load.percentile(50) <= load.percentile(99)
    assert load.answered == pytest.approx(load.statuses[200] / load.seconds)


def test_other_statuses_are_no_answers() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read(reader)
            writer.write(b"HTTP/1.1 429 No\r\ncontent-length: 0\r\n\r\n")

    load = loaded(refuse)
    assert set(load.statuses) == {429}
    assert not load.latencies
    assert load.answered == 0


def test_a_client_ends_where_the_server_says_so() -> None:
    async def last(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read(reader)
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    load = loaded(last, reconnect=False)
    assert load.statuses == {200: 3}
    assert not load.failures


@pytest.mark.parametrize(("sent", "name"), [(b"", LEFT), (OK[:-1], CUT), (OK[:10], CUT)])
def test_a_request_without_a_whole_answer_is_lost(sent: bytes, name: str) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read(reader)
        writer.write(sent)

    load = loaded(cut, reconnect=False)
    assert load.failures == {name: 3}


def test_texts_differ() -> None:
    texts = short_texts(1000)
    assert len(set(texts)) == 1000
    assert texts == short_texts(1000)


def test_the_tables_name_what_is_missing() -> None:
    good = Result("embedge", loads=[Load(seconds=2, latencies=[0.1, 0.2])])
    good.loads[0].statuses[200] = 2
    missing = Result("infinity-emb", failure="its packages could not be installed (1)")
    table = load_table([good, missing], texts=4)
    assert "| embedge | 4 |" in table
    assert "its packages could not be installed (1)" in table
    assert "| 0.40 | 0.9 |" in bars_table([good, missing], texts=4, encode=10.0)


def test_a_request_is_whole() -> None:
    head, _, body = CONTENDER.request(["ä"]).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body)["input"] == ["prompt: ä"]
    assert head.startswith(b"POST /v1/embeddings HTTP/1.1\r\n")
