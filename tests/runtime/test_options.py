"""Options of every odd kind: one named error before any work, and nothing raw."""

import threading
from typing import Any

import numpy as np
import pytest

import embedge
from embedge import Embedder, OptionError, SearchIndex
from embedge.cli import main
from embedge.options import (
    check_callback,
    check_cancel,
    check_one_of,
    flag,
    is_one_of,
    shown,
    whole_number,
)
from support.tiny import IMAGE, write_pack

DIGITS = 10**5000  # Python refuses to write it


class Rude:
    """An object that will not even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


ODD: list[Any] = [
    np.array(["a", "b"]),
    np.array([8]),
    np.array(8.0),
    np.zeros((2, 2)),
    ["x"],
    {"x": 1},
    object(),
    b"x",
    1.5,
    float("nan"),
    "",
    "no",
    "x" * 1_000_000,
    Rude(),
]


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "2", None, *ODD])
def test_whole_numbers_only(value: Any) -> None:
    with pytest.raises(OptionError, match=r"n is .*whole number of 1 or more") as caught:
        whole_number(value, "n")
    assert len(str(caught.value)) < 300


def test_whole_numbers_of_numpy_and_bounds() -> None:
    number = whole_number(np.int64(3), "n", most=3)
    assert (number, type(number)) == (3, int)
    with pytest.raises(OptionError, match="within 1 and 3"):
        whole_number(4, "n", most=3)
    assert whole_number(2**63 - 1, "n") == 2**63 - 1
    for large in (2**63, DIGITS):
        with pytest.raises(OptionError, match="64 bits"):
            whole_number(large, "n")
        with pytest.raises(OptionError, match="64 bits"):
            whole_number(large, "n", most=3)
    with pytest.raises(OptionError, match="n is of type int"):
        whole_number(-DIGITS, "n")


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_, 1, 0])
def test_flags(value: Any) -> None:
    assert flag(value, "n") is bool(value)


@pytest.mark.parametrize("value", [*ODD, None, 2, -1])
def test_what_is_no_flag(value: Any) -> None:
    with pytest.raises(OptionError, match=r"n is .*True or False"):
        flag(value, "n")


@pytest.mark.parametrize("value", ODD)
def test_what_is_no_name_callback_or_event(value: Any) -> None:
    assert not is_one_of(value, ("a", "b"))
    with pytest.raises(OptionError, match=r"n .* is unknown; choose one of a, b"):
        check_one_of(value, "n", ("a", "b"))
    with pytest.raises(OptionError, match=r"progress is .*callable as progress\(done, total\)"):
        check_callback(value, "progress(done, total)")
    with pytest.raises(OptionError, match=r"cancel is .*threading\.Event"):
        check_cancel(value)


def test_names_callbacks_and_events() -> None:
    assert is_one_of(np.str_("a"), ("a", "b"))
    check_one_of("a", "n", ("a", "b"))
    check_callback(None, "progress(done, total)")
    check_callback(print, "progress(done, total)")
    check_cancel(None)
    check_cancel(threading.Event())


def test_values_are_shown_short() -> None:
    assert shown("a") == "'a'"
    assert len(shown("x" * 10**6)) < 90
    assert "\n" not in shown(np.zeros((50, 50)))
    assert shown(Rude()) == "of type Rude"
    assert shown(DIGITS) == "of type int"


ENCODE = (
    *("task", "prompt_name", "prompt", "truncate_dim", "max_length", "normalize"),
    *("embedding_type", "ranges", "on_overflow", "on_error", "progress", "cancel"),
)
IMAGES = (
    *("task", "truncate_dim", "normalize", "embedding_type", "ranges", "upright", "allow_urls"),
    *("on_error", "progress", "cancel"),
)
OPENING = (
    *("path", "precision", "device", "threads", "token_budget", "memory_limit", "arena"),
    *("spin", "prepared", "warm_up"),
)


def kind_of(value: Any) -> str:
    return type(value).__name__


class Never:
    """A network that must not run."""

    def run(self, *_: Any, **__: Any) -> None:
        pytest.fail("it ran")


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return Embedder(write_pack(tmp_path_factory.mktemp("odd") / "pack", image=IMAGE))


@pytest.fixture
def _nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedge.sessions.open_session", lambda *_, **__: Never())


def fits(name: str, value: Any) -> bool:
    """Whether an odd value is a good one for this option."""
    if name == "progress" and value is True:  # shows a progress line
        return True
    return isinstance(value, str) and name in ("prompt", "path", "prepared") and bool(value)


@pytest.mark.usefixtures("_nothing_runs")
@pytest.mark.parametrize("value", [*ODD, True, 5, -1, DIGITS], ids=kind_of)
def test_every_option_of_a_call_is_checked_before_it_runs(embedder: Embedder, value: Any) -> None:
    for name in ENCODE:
        good = fits(name, value) or (name == "prompt" and isinstance(value, str))
        if good or (name == "normalize" and value is True):
            continue
        if name in ("truncate_dim", "max_length") and type(value) is int and 0 < value < 9:
            continue
        with pytest.raises(OptionError):
            embedder.encode(["a"], **{name: value})
    for name in IMAGES:
        if name in ("normalize", "upright", "allow_urls", "progress") and value is True:
            continue
        if name == "truncate_dim" and type(value) is int and 0 < value < 9:
            continue
        with pytest.raises(OptionError):
            embedder.encode_image(np.zeros((4, 4), np.uint8), **{name: value})
    for name in ("task", "tower"):
        with pytest.raises(OptionError):
            embedder.load(**{name: value})


@pytest.mark.parametrize("value", [*ODD, True, -1, DIGITS], ids=kind_of)
def test_every_option_of_an_embedder_is_checked(embedder: Embedder, value: Any) -> None:
    for name in OPENING:
        if fits(name, value) or (name in ("arena", "spin", "warm_up") and value is True):
            continue
        with pytest.raises((OptionError, embedge.PackError)) as caught:
            Embedder(**{"path": embedder.folder, name: value})
        assert name == "path" or isinstance(caught.value, OptionError)


@pytest.mark.parametrize("value", [*ODD, True, -1, DIGITS], ids=kind_of)
def test_every_option_of_a_search_is_checked(embedder: Embedder, value: Any) -> None:
    with SearchIndex(None, embedder) as index:
        for name in ("top_k", "kind", "mode"):
            with pytest.raises(OptionError):
                index.search("a", **{name: value})
        for name in ("progress", "cancel"):
            with pytest.raises(OptionError):
                index.update(".", **{name: value})
        for name in ("include", "exclude"):
            if type(value) is not list:  # of patterns, it is one
                for call in (index.update, index.count):
                    with pytest.raises(OptionError, match=f"{name} is"):
                        call(".", **{name: value})
    if value is not True:
        with pytest.raises(OptionError):
            SearchIndex(None, embedder, rebuild=value)
    with pytest.raises(OptionError):
        SearchIndex(None, embedder, truncate_dim=value)


@pytest.mark.parametrize("value", [5, b"x", "", "a\0b", [5], Rude()], ids=kind_of)
def test_paths_of_a_search_are_checked(embedder: Embedder, value: Any) -> None:
    with SearchIndex(None, embedder) as index:
        for call in (
            lambda: index.update(value),
            lambda: index.search("a", path=value),
            lambda: index.count(value),
            lambda: SearchIndex(value, embedder),
        ):
            with pytest.raises(OptionError, match="path is"):
                call()
    with pytest.raises(OptionError, match=r"embedder is .*must be an Embedder"):
        SearchIndex(None, value)


def test_a_large_number_of_results_is_all_of_them(embedder: Embedder, tmp_path: Any) -> None:
    (tmp_path / "a.txt").write_text("one")
    with SearchIndex(None, embedder) as index:
        index.update(tmp_path)
        assert len(index.search("one", top_k=2**63 - 1)) == 1


def test_large_limits_are_as_good_as_none(embedder: Embedder) -> None:
    most = 2**63 - 1
    with Embedder(embedder.folder, token_budget=most, memory_limit=most) as large:
        assert large.encode(["a", "bc"]).shape == (2, 8)


@pytest.mark.parametrize(
    "vectors", [[[1.0], [1.0, 2.0]], "abc", [["a"]], 1.0, [[[1.0]]], [[1e400j]]]
)
def test_what_is_no_array_of_vectors(vectors: Any) -> None:
    with pytest.raises(OptionError):
        embedge.similarity(vectors, [1.0])
    with pytest.raises(OptionError):
        embedge.quantize(vectors, "binary")


@pytest.mark.parametrize("kind", ["int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_quantized(kind: Any, number: float) -> None:
    ranges = [[0.0, 0.0], [1.0, 1.0]] if kind.endswith("int8") else None
    with pytest.raises(OptionError, match="row 1 of vectors"):
        embedge.quantize([[0.0, 1.0], [number, 1.0]], kind, ranges=ranges)
    with pytest.raises(OptionError, match="row 0 of vectors"):
        embedge.quantize([number, 1.0], kind, ranges=ranges)


def test_a_manifest_is_read_by_a_str(embedder: Embedder) -> None:
    assert embedge.read_manifest(str(embedder.folder)) == embedder.manifest
    for path in ("", 5, b"x", "a\0b"):
        with pytest.raises(OptionError):
            embedge.read_manifest(path)


@pytest.mark.parametrize(
    "line",
    [
        ["embed", "--threads", str(2**63)],
        ["embed", "--threads", "9" * 5000],
        ["embed", "--truncate-dim", str(2**64)],
        ["search", "x", ".", "-k", str(2**64)],
        ["bench", "PACK", "--shapes", "9999999x9999999"],
        ["bench", "PACK", "--shapes", "1x" + "9" * 5000],
        ["bench", "PACK", "--seconds", "1e999"],
        ["bench", "PACK", "--seconds", "nan"],
    ],
    ids=lambda line: " ".join(line)[:40],
)
def test_numbers_that_nobody_means_on_the_command_line(
    embedder: Embedder, capsys: pytest.CaptureFixture[str], line: list[str]
) -> None:
    assert main([str(embedder.folder) if word == "PACK" else word for word in line]) == 2
    told = capsys.readouterr().err
    assert told.startswith("embedge: error: ")
    assert told.count("\n") == 1


def test_doctor_says_why_it_takes_fewer_threads(
    embedder: Embedder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDGE_THREADS", "999999")
    main(["doctor", str(embedder.folder)])
    assert "EMBEDGE_THREADS=999,999 is more than" in capsys.readouterr().out
