"""What adapters share, and that each says which package it lacks; no framework is needed for it."""

import asyncio
import gc
import importlib
import json
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedge import Embedder, InputError, MissingExtraError, OptionError, PackError, TextError
from embedge.integrations import model as shared
from embedge.integrations.libraries import needs
from embedge.integrations.model import Model, in_thread
from support.adapters import LIBRARIES, PLACE
from support.tiny import IMAGE, PROMPTS

PATIENCE = 10  # seconds


@pytest.mark.parametrize(("name", "library"), LIBRARIES.items())
def test_a_framework_that_is_missing_is_named(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"{PLACE}.{name}", raising=False)
    with pytest.raises(
        MissingExtraError, match=r"^[a-z-]+ is not installed; `pip install [a-z-]+`$"
    ):
        importlib.import_module(f"{PLACE}.{name}")


def test_what_a_framework_lacks_itself_is_its_own_error() -> None:
    with (
        pytest.raises(ModuleNotFoundError, match="no_such_part") as caught,
        needs("framework", package="framework"),
    ):
        importlib.import_module("no_such_part")
    assert not isinstance(caught.value, MissingExtraError)


def test_queries_and_documents_are_two_sides(pack: Path) -> None:
    model = Model(pack)
    with Embedder(pack) as embedder:
        queries, documents = embedder.encode_query(["ab"]), embedder.encode_document(["ab"])
        assert np.array_equal(model.queries(["ab"]), queries)
        assert np.array_equal(model.documents(["ab"]), documents)
        plain = embedder.encode(["ab"], task="retrieval", prompt=PROMPTS["query"])
    assert np.array_equal(queries, plain)
    assert not np.array_equal(queries, documents)


@pytest.mark.filterwarnings("ignore::embedge.TruncationWarning")
def test_the_options_reach_the_call(make_pack: Callable[..., Path]) -> None:
    folder = make_pack(image=IMAGE)
    model = Model(folder, task="text-matching", truncate_dim=3, max_length=5)
    white = np.full((4, 4, 3), 255, np.uint8)
    with Embedder(folder) as embedder:
        options: Any = {"task": "text-matching", "truncate_dim": 3}
        long = ["abcdefgh"]
        assert np.array_equal(
            model.queries(long), embedder.encode_query(long, max_length=5, **options)
        )
        assert np.array_equal(
            model.documents(long), embedder.encode_document(long, max_length=5, **options)
        )
        assert not np.array_equal(model.queries(long), embedder.encode_query(long, **options))
        assert np.array_equal(model.images([white]), embedder.encode_image([white], **options))


def test_nothing_is_opened_before_it_is_needed(tmp_path: Path) -> None:
    model = Model(tmp_path / "none", task="nonsense")
    with pytest.raises(PackError, match="none"):
        model.queries(["a"])


def test_models_that_run_a_pack_alike_share_it_while_one_lives(pack: Path) -> None:
    one = Model(pack, threads=1)
    two = Model(str(pack), threads=1, task="retrieval")
    other = Model(pack, threads=2)
    assert one.embedder is two.embedder
    assert one.embedder is not other.embedder
    before = len(shared._shared)
    del one, two, other
    gc.collect()
    assert len(shared._shared) < before


def test_it_is_shared_between_threads(pack: Path) -> None:
    model, seen = Model(pack), []
    barrier = threading.Barrier(8)

    def use() -> None:
        barrier.wait(PATIENCE)
        seen.append((model.embedder, model.queries(["ab"])))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(seen) == 8
    assert {id(embedder) for embedder, _ in seen} == {id(model.embedder)}
    assert all(np.array_equal(rows, seen[0][1]) for _, rows in seen)


def test_an_embedder_is_used_as_it_is(pack: Path) -> None:
    with Embedder(pack, threads=1) as embedder:
        assert Model(embedder).embedder is embedder
        with pytest.raises(OptionError, match="those of the Embedder that was passed"):
            Model(embedder, precision="int8")
        with pytest.raises(OptionError, match="those of the Embedder"):
            Model(embedder, threads=2)


@pytest.mark.parametrize("given", ["folder", "embedder"])
def test_settings_make_the_same_again(given: str, pack: Path) -> None:
    run: Any = {"precision": "fp32", "threads": 1}
    model = (
        Model(pack, truncate_dim=3, **run)
        if given == "folder"
        else Model(Embedder(pack, memory_limit=2**30, **run), truncate_dim=3)
    )
    settings = json.loads(json.dumps(model.settings()))
    again = Model(**settings)
    assert again.embedder.precision == "fp32"
    assert again.embedder.threads == 1
    assert np.array_equal(again.documents(["ab"]), model.documents(["ab"]))
    assert settings["pack"] == str(pack)


def test_it_is_pickled_without_what_it_opened(pack: Path) -> None:
    model = Model(pack, truncate_dim=3)
    rows = model.queries(["ab"])
    data = pickle.dumps(model)
    assert b"Embedder" not in data
    assert np.array_equal(pickle.loads(data).queries(["ab"]), rows)
    with Embedder(pack) as embedder:
        own = pickle.loads(pickle.dumps(Model(embedder, truncate_dim=3)))
    assert np.array_equal(own.queries(["ab"]), rows)


def test_another_pack_than_the_fingerprint_says_is_refused(
    pack: Path, make_pack: Callable[..., Path]
) -> None:
    embedder = Model(pack).embedder
    fingerprint = embedder.manifest.fingerprint(embedder.precision)
    assert Model(pack, fingerprint=fingerprint).queries(["a"]).shape == (1, 8)
    other = make_pack("other", prompts={"query": "Question: ", "document": "D: "})
    with pytest.raises(PackError, match="is another pack"):
        Model(other, fingerprint=fingerprint).queries(["a"])


def test_bad_input(pack: Path) -> None:
    model = Model(pack)
    with pytest.raises(InputError, match="pass a list of str"):
        model.documents("one text")
    with pytest.raises(TextError) as caught:
        model.documents(["good", None, 3])
    assert [index for index, _ in caught.value.items] == [1, 2]
    assert model.documents([]).shape == (0, 8)
    with pytest.raises(TypeError, match="truncate_dims"):
        Model(pack, truncate_dims=3)  # type: ignore[call-arg]


def test_a_cancelled_task_ends_its_run() -> None:
    began, ended = threading.Event(), threading.Event()

    def embed(items: list[str], *, cancel: threading.Event) -> None:
        began.set()
        if cancel.wait(PATIENCE):
            ended.set()

    async def leave() -> None:
        task = asyncio.create_task(in_thread(embed, ["a"]))
        await asyncio.to_thread(began.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert ended.wait(PATIENCE)


def test_calls_of_an_event_loop_wait_their_turn() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def embed(items: list[int], *, cancel: threading.Event) -> list[int]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        cancel.wait(0.01)
        with lock:
            running -= 1
        return items

    async def all_at_once() -> list[list[int]]:
        return await asyncio.gather(*(in_thread(embed, [n]) for n in range(20)))

    for _ in range(2):  # each event loop has its own
        assert asyncio.run(all_at_once()) == [[n] for n in range(20)]
    assert most == 2


def test_a_call_that_waits_can_be_cancelled() -> None:
    began, leave = threading.Semaphore(0), threading.Event()
    seen = []

    def embed(items: list[int], *, cancel: threading.Event) -> None:
        seen.extend(items)
        began.release()
        leave.wait(PATIENCE)

    async def use() -> None:
        tasks = [asyncio.create_task(in_thread(embed, [n])) for n in range(3)]
        for _ in range(2):
            await asyncio.to_thread(began.acquire)
        tasks[2].cancel()
        await asyncio.gather(tasks[2], return_exceptions=True)
        leave.set()
        await asyncio.gather(*tasks[:2])

    asyncio.run(use())
    assert sorted(seen) == [0, 1]


def test_vectors_beside_an_event_loop_are_the_same(pack: Path) -> None:
    model = Model(pack)
    rows = asyncio.run(in_thread(model.documents, ["ab", "c"]))
    assert np.array_equal(rows, model.documents(["ab", "c"]))
