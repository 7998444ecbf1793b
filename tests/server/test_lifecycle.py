"""The start and the end: a line on stdout, /live before /ready, and nothing accepted is lost."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedge.cli import main
from embedge.cli.commands import serve as command
from embedge.encoder import Encoder
from embedge.errors import ClosedError
from embedge.server.run import Server
from support.serving import Client, Held, in_thread, open_pack, serving, wait_for
from support.tiny import write_pack

Start = Callable[..., tuple[Client, Server]]


@pytest.fixture
def process(tiny_folder: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`process(*arguments)` is `embedge serve` of the tiny pack."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "embedge", "serve", str(tiny_folder), *arguments]
        environment = {**os.environ, "EMBEDGE_THREADS": "1"}
        started.append(
            subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        )
        return started[-1]

    yield start
    for one in started:
        if one.poll() is None:
            one.kill()
        one.communicate()


def said(one: subprocess.Popen[bytes]) -> Any:
    """The line that says where it listens."""
    assert one.stdout is not None
    line = one.stdout.readline()
    assert line, one.communicate()[1].decode()
    return json.loads(line)


def test_live_before_ready(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    warm_up = Encoder.warm_up

    def slow(self: Encoder, call: Any) -> None:
        assert gate.wait(60)
        warm_up(self, call)

    monkeypatch.setattr(Encoder, "warm_up", slow)
    with serving({"tiny": open_pack(tiny_folder)}, ready=False) as (client, server):
        try:
            assert client.get("/live").status == 200
            assert client.get("/health").status == 200
            assert client.get("/ready").status == 503
            early = client.embed("a")
            assert early.status == 503
            assert isinstance(early.json()["detail"], str)
            assert early.headers["retry-after"]
        finally:
            gate.set()
        wait_for(lambda: server.service.ready)
        assert client.get("/ready").status == 200
        assert client.embed("a").status == 200


def test_what_was_accepted_is_finished(start: Start, hold: Callable[[Server], Held]) -> None:
    client, server = start(drain_seconds=1)
    held = hold(server)
    before, answers = in_thread(lambda: client.embed("before"))
    wait_for(lambda: held.runs)
    server.stop()
    wait_for(lambda: client.get("/ready").status == 503)
    during, more = in_thread(lambda: client.embed("during"))  # balancers still send some
    wait_for(lambda: held.queue.tokens > 10)
    held.gate.set()
    for thread in (before, during):
        thread.join()
    assert [one.status for one in (*answers, *more)] == [200, 200]

    def refused() -> bool:
        try:
            return bool(client.get("/live").status == 0)
        except OSError:
            return True

    wait_for(refused)


def test_what_takes_too_long_is_dropped(start: Start, hold: Callable[[Server], Held]) -> None:
    client, server = start(grace_seconds=1)
    held = hold(server)

    def ask() -> Any:
        try:
            return client.embed("a").status
        except (OSError, http.client.HTTPException):
            return "dropped"

    thread, found = in_thread(ask)
    wait_for(lambda: held.runs)
    server.stop()
    thread.join(30)
    assert found in (["dropped"], [500], [503])
    assert held.cancelled.wait(30)


def test_a_pack_that_cannot_be_loaded_ends_the_server(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Encoder, call: Any) -> None:
        raise ClosedError("it is broken")

    monkeypatch.setattr(Encoder, "warm_up", broken)
    with (
        pytest.raises(AssertionError, match="it is broken"),
        serving({"tiny": open_pack(tiny_folder)}),
    ):
        pass


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_the_command(process: Callable[..., Any]) -> None:
    one = process("--port", "0", "--generate-key", "--json-logs", "--drain-seconds", "0")
    line = said(one)
    client = Client(line["url"])
    wait_for(lambda: client.get("/ready").status == 200)
    assert client.embed("a secret text").status == 401
    reply = client.post(
        "/v1/embeddings", {"input": "a secret text"}, authorization=f"Bearer {line['token']}"
    )
    assert reply.status == 200
    one.send_signal(signal.SIGTERM)
    _, log = one.communicate(timeout=60)
    assert one.returncode == 0
    assert b"secret" not in log
    assert line["token"].encode() not in log
    events = [json.loads(text) for text in log.splitlines() if text.startswith(b"{")]
    requests = [event for event in events if event["logger"] == "embedge.server.access"]
    assert [event["message"] for event in requests] == [
        "POST /v1/embeddings 401",
        "POST /v1/embeddings 200",
    ]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_a_unix_socket(process: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.touch()
    refused = process("--uds", str(path))
    assert refused.wait(60) == 2
    path.unlink()
    with socket.socket(socket.AF_UNIX) as left:  # by a server that was killed
        left.bind(str(path))
    one = process("--uds", str(path), "--drain-seconds", "0")
    assert said(one)["url"] == f"unix:{path}"
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b" 200 " in client.recv(4096)
    second = process("--uds", str(path))
    assert second.wait(60) == 2
    one.send_signal(signal.SIGINT)
    assert one.wait(60) == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "--insecure-no-key"),
        (["--host", "192.0.2.1", "--insecure-no-key"], "cannot listen at 192.0.2.1"),
        (["--port", "70000"], "port is 70000"),
        (["--items", "0"], "items is 0"),
        (["--api-key-file", "missing.txt"], "missing.txt"),
        (["--cors-origin", "nowhere"], "not an origin"),
        (["PACK"], "two packs would be called"),
        (["no-such-pack"], "no-such-pack"),
        (["a:b=PACK"], "cannot be served"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(
    tiny_folder: Path,
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(command.KEY_VARIABLE, raising=False)
    given = [one.replace("PACK", str(tiny_folder)) for one in arguments]
    assert main(["serve", str(tiny_folder), *given]) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert not shown.out


def test_keys_come_from_a_file_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedge.cli import build_parser

    file = tmp_path / "keys"
    file.write_text("# for the team\nfirst-key-of-file\n\n second-key-of-file \n")
    monkeypatch.setenv(command.KEY_VARIABLE, "key-of-the-environment")
    options = build_parser().parse_args(["serve", "--api-key-file", str(file)])
    assert command._keys(options) == (
        "first-key-of-file",
        "second-key-of-file",
        "key-of-the-environment",
    )


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("embedge.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve"]) == 2
    assert 'pip install "embedge[cpu,server]"' in capsys.readouterr().err


def test_texts_in_another_language_are_said_once_a_pack_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pack = write_pack(tmp_path / "pack", max_length=100, languages=("en",))
    with serving({"one": open_pack(pack), "two": open_pack(pack)}) as (client, _):
        said: list[str] = []
        for model in ("one", "one", "two"):
            for text in ("plain", "Где библиотека", "Где библиотека"):
                assert client.embed(text, model=model).status == 200
            said.append(caplog.text)
            caplog.clear()
    assert said[0].count("one: a text is mostly in Cyrillic letters") == 1
    assert "библиотека" not in said[0]
    assert said[1] == ""
    assert said[2].count("two: a text is mostly in Cyrillic letters") == 1
