"""What goes to another process: every error as it is, an embedder and an index opened again."""

import copy
import gc
import importlib
import inspect
import multiprocessing
import os
import pickle
import pkgutil
import weakref
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedge
import embedge_export
from embedge import (
    ClosedError,
    Embedder,
    ImageError,
    OptionError,
    PackError,
    SearchIndex,
    TextError,
)
from embedge.errors import IndexOutdatedError
from embedge.reopening import KEPT
from support.adapters import is_adapter
from support.tiny import edit_manifest, relist, write_pack

NEED_TORCH = "embedge_export.families.optimum."
# How to make those that take more than a message.
SPECIAL: dict[str, Any] = {
    "TextError": lambda kind: kind([(0, "is None, not str"), (3, "is int, not str")], np.eye(2)),
    "ImageError": lambda kind: kind([(1, "is damaged")], np.eye(2)),
    "IndexOutdatedError": lambda kind: kind("made by another model", change="model: a -> b"),
    "Stopped": lambda kind: kind(15),
}


def every_error() -> list[type[BaseException]]:
    """Every class of error that the two packages define."""
    found = set()
    for package in (embedge, embedge_export):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "_pyinstaller" in module.name or is_adapter(module.name):
                continue
            if find_spec("torch") is None and module.name.startswith(NEED_TORCH):
                continue  # looked at where torch is installed
            for _, kind in inspect.getmembers(
                importlib.import_module(module.name), inspect.isclass
            ):
                ours = kind.__module__.split(".")[0] in ("embedge", "embedge_export")
                if ours and issubclass(kind, BaseException):
                    found.add(kind)
    return sorted(found, key=lambda kind: kind.__name__)


def state(error: BaseException) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(error).items()
    }


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_can_be_pickled_and_copied(kind: type[BaseException], protocol: int) -> None:
    try:
        error = SPECIAL.get(kind.__name__, lambda kind: kind("what, where, and what to do"))(kind)
    except TypeError:
        error = kind("a", 1)
    if issubclass(kind, embedge.EmbedgeError):
        error.add_note("seen on the way")
    again = (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error))
    for same in again:
        assert type(same) is kind
        assert str(same) == str(error)
        assert state(same) == state(error)


def refuse(number: int) -> None:
    if number == 0:
        raise TextError([(0, "is None, not str")])
    if number == 1:
        raise ImageError([(0, "is damaged")], np.zeros(2))
    raise IndexOutdatedError("outdated", change="model")


def test_errors_come_back_from_another_process() -> None:
    """On a class that can't be restored, `get` would wait for ever."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for number, kind in enumerate((TextError, ImageError, IndexOutdatedError)):
            with pytest.raises(kind):
                pool.apply_async(refuse, (number,)).get(60)


def test_an_embedder_is_opened_again(pack: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"threads": 1, "token_budget": 7, "memory_limit": 10**9}
    with Embedder(pack, arena=True, warm_up=True, **options) as embedder:
        expected = embedder.encode(["a", "bc"])
        for again in (pickle.loads(pickle.dumps(embedder)), copy.deepcopy(embedder)):
            assert again is not embedder
            assert again._encoder._runner is not embedder._encoder._runner
            assert again.options == embedder.options
            for name, choice in embedder.choices.items():
                assert again.choices[name].value == choice.value
            np.testing.assert_array_equal(again.encode(["a", "bc"]), expected)
            again.close()
        assert embedder.encode("a").shape == (8,)  # closing one leaves the other open
        data = pickle.dumps(embedder)
    assert len(data) < 2000  # no network and no tokenizer
    with pytest.raises(ClosedError):
        pickle.dumps(embedder)


def test_precision_and_device_are_those_that_were_chosen(make_pack: Any) -> None:
    with Embedder(make_pack(precisions=("fp32", "int8"), passed=("int8", "fp32"))) as embedder:
        assert embedder.precision == "int8"
        with pickle.loads(pickle.dumps(embedder)) as again:
            assert (again.precision, again.device) == ("int8", "cpu")
            assert again.choices["precision"].reason == "precision= was given"


def test_the_bundled_pack_stays_the_bundled_one(package: Path) -> None:
    write_pack(package / "default")
    with Embedder() as embedder:
        assert embedder.options["path"] is None
        with copy.deepcopy(embedder) as again:
            assert again.folder == embedder.folder


def test_another_pack_at_the_same_place_is_refused(pack: Path) -> None:
    with Embedder(pack) as embedder:
        data = pickle.dumps(embedder)
    (pack / "retrieval.fp32.onnx").write_bytes(b"another graph")
    relist(pack, "retrieval.fp32.onnx")
    with pytest.raises(PackError, match="was pickled"):
        pickle.loads(data)
    edit_manifest(pack, lambda root: root.clear())
    with pytest.raises(PackError):
        pickle.loads(data)


def shape(embedder: Embedder) -> tuple[int, ...]:
    return embedder.encode(["a", "b"]).shape


def test_an_embedder_is_an_argument_of_another_process(pack: Path) -> None:
    with Embedder(pack) as embedder, multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map_async(shape, [embedder]).get(60) == [(2, 8)]


def opened(embedder: Embedder) -> tuple[int, int]:
    return os.getpid(), id(embedder)


def test_a_worker_opens_it_once_for_all_its_work(pack: Path) -> None:
    with Embedder(pack) as embedder, multiprocessing.get_context("spawn").Pool(1) as pool:
        seen = pool.map(opened, [embedder] * 5, chunksize=1)  # nobody holds it in between
    assert len(set(seen)) == 1
    assert seen[0][0] != os.getpid()


def test_its_methods_are_work_for_an_executor(pack: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with Embedder(pack) as embedder, ProcessPoolExecutor(1, mp_context=context) as executor:
        chunks = [["a", "bc"], ["def"]]
        found = list(executor.map(partial(embedder.encode, task="retrieval"), chunks))
        for rows, chunk in zip(found, chunks, strict=True):
            np.testing.assert_array_equal(rows, embedder.encode(chunk, task="retrieval"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_forked_workers_embed_with_what_their_parent_opened(pack: Path) -> None:
    with Embedder(pack, threads=2) as embedder:
        expected = embedder.encode(["a", "bc"])
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            for rows in executor.map(embedder.encode, [["a", "bc"]] * 4, timeout=60):
                np.testing.assert_array_equal(rows, expected)


def test_one_process_gets_the_same_one_for_the_same_options(pack: Path) -> None:
    with Embedder(pack) as embedder, Embedder(pack, threads=1) as other:
        data = pickle.dumps(embedder)
        again = pickle.loads(data)
        assert pickle.loads(data) is again is not embedder
        assert pickle.loads(pickle.dumps(other)) is not again
        again.close()
        with pickle.loads(data) as third:  # closed ones are given to nobody
            assert third.encode("a").shape == (8,)


def test_it_does_not_keep_every_pack_that_came(make_pack: Any) -> None:
    held = []
    for number in range(KEPT + 1):
        with Embedder(make_pack(f"pack{number}")) as embedder:
            held.append(weakref.ref(pickle.loads(pickle.dumps(embedder))))
    gc.collect()
    assert held[0]() is None
    assert all(one() is not None for one in held[1:])


def test_copies_are_their_own(pack: Path) -> None:
    with Embedder(pack) as embedder:
        copies = [copy.copy(embedder), copy.deepcopy(embedder), copy.deepcopy([embedder])[0]]
        assert len({id(one) for one in (*copies, embedder)}) == 4
        for one in copies:
            assert one.options == embedder.options
            one.close()
        assert not embedder.closed
    with pytest.raises(ClosedError):
        copy.copy(embedder)


def test_a_worker_takes_the_threads_that_its_engine_counts(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Embedder(pack) as embedder, Embedder(pack, threads=3) as asked:
        data, of_three = pickle.dumps(embedder), pickle.dumps(asked)
    for text, expected in (("2", 2), ("", embedder.threads), ("x", embedder.threads)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        with pickle.loads(data) as again:
            assert again.threads == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with pickle.loads(of_three) as again:
        assert again.threads == 3
    monkeypatch.setenv("EMBEDGE_THREADS", "1")
    with pickle.loads(data) as again:
        assert again.threads == 1


def test_an_index_is_opened_again(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with Embedder(pack) as embedder, SearchIndex(tmp_path / "index", embedder) as index:
        index.update(tmp_path / "a.txt")
        with pickle.loads(pickle.dumps(index)) as again:
            assert again.search("text") == index.search("text")
        with copy.deepcopy(index) as again:
            assert again.count() == (1, 1)
    with pytest.raises(ClosedError):
        pickle.dumps(index)


def test_an_index_in_memory_says_that_it_cannot_be_pickled(pack: Path) -> None:
    with (
        Embedder(pack) as embedder,
        SearchIndex(None, embedder) as index,
        pytest.raises(OptionError, match="in memory"),
    ):
        pickle.dumps(index)
