"""Servers of the tiny pack, whose vectors a reader can check by hand (tiny.py)."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedge.server.run import Server
from support.serving import Client, Held, open_pack, serving
from support.tiny import IMAGE, write_pack


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tasks retrieval and text-matching, prompts query and document, images."""
    return write_pack(tmp_path_factory.mktemp("packs") / "tiny", image=IMAGE)


@pytest.fixture(scope="module")
def server(tiny_folder: Path) -> Iterator[Client]:
    """One server of the tiny pack for all tests of a module that leave it as it is."""
    with serving({"tiny": open_pack(tiny_folder)}) as (client, _):
        yield client


@pytest.fixture
def start(tiny_folder: Path) -> Iterator[Callable[..., tuple[Client, Server]]]:
    """`start(**settings)` serves the tiny pack until the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            serving({"tiny": open_pack(tiny_folder)}, **settings)
        )


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Server], Held]]:
    held: list[Held] = []

    def one(server: Server) -> Held:
        held.append(Held(server, monkeypatch))
        return held[-1]

    yield one
    for each in held:
        each.gate.set()
