"""What goes to another process: every error as it is, an embedder and an index opened again."""

import copy
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
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
