import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import embedge.sessions
from embedge import (
    CancelledError,
    ClosedError,
    DeviceError,
    Embedder,
    MemoryLimitError,
    NonFiniteError,
    OptionError,
    PackError,
    PackFileError,
    RangesWarning,
    TextError,
    TextTooLongError,
    TruncationWarning,
)
from embedge.calls import EncodeOptions
from embedge.captures import USES
from embedge.choice import Choice
from embedge.engine.kernels import INEXACT
from embedge.engine.providers.cuda import SHARES
from embedge.machine.cpu_caches import Cache, CpuCaches
from embedge.machine.gpu_memory import GpuMemory
from embedge.pack.manifest import MemoryCost
from embedge.pack.reading import read_manifest
from embedge.run_size import LEAST, MOST, UNKNOWN
from embedge.sessions import POOL_SLACK
from embedge.windows import Window
from support.tiny import DIMENSION, EOS, PAD, edit_manifest

MakePack = Callable[..., Path]
TAIL = [-1, 0.5, -0.5, 0, 1]


def answer(text: str, *, task: int = 1, closing: tuple[int, ...] = ()) -> list[float]:
    """What the tiny model gives for a text with its prompt, by hand."""
    ids = [*text.encode(), *closing]
    return [sum(ids), len(ids), task, *TAIL]


class FakeSession:
    """Adds up ids in NumPy and remembers every batch."""

    def __init__(self, graph: Path, **options: Any) -> None:
        self.graph = graph
        self.options = options
        self.shapes: list[tuple[int, int]] = []
        self.kept: list[bool] = []  # whether each run kept its pool of memory
        self.freed = 0
        self.poison: Callable[[Any], None] = lambda vectors: None
        self.during: Callable[[], None] = lambda: None

    def run(
        self,
        input_ids: Any,
        attention_mask: Any,
        *,
        cancel: threading.Event | None = None,
        keep: bool = False,
    ) -> Any:
        assert input_ids.dtype == attention_mask.dtype == np.int64
        assert (input_ids[attention_mask == 0] == PAD).all()
        self.shapes.append(input_ids.shape)
        self.kept.append(keep)
        self.during()
        vectors = np.zeros((len(input_ids), DIMENSION), np.float32)
        vectors[:, 0] = (input_ids * attention_mask).sum(axis=1)
        vectors[:, 1] = attention_mask.sum(axis=1)
        vectors[:, 3:] = TAIL
        self.poison(vectors)
        return vectors

    def free(self) -> None:
        self.freed += 1


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[FakeSession]:
    """Every session that is opened, instead of ONNX Runtime's."""
    opened: list[FakeSession] = []

    def open_session(graph: Path, **options: Any) -> FakeSession:
        opened.append(FakeSession(graph, **options))
        return opened[-1]

    monkeypatch.setattr("embedge.sessions.open_session", open_session)
    return opened


# The whole road, with a real graph in ONNX Runtime.


def test_a_list_gives_rows_in_order_and_one_text_a_vector(pack: Path) -> None:
    with Embedder(pack) as embedder:
        rows = embedder.encode(["ab", "", "a longer text"], normalize=False)
        assert rows.tolist() == [answer("D: ab"), answer("D: "), answer("D: a longer text")]
        assert rows.dtype == np.float32
        one = embedder.encode("ab", normalize=False)
        assert one.tolist() == answer("D: ab")
        assert embedder.encode([]).shape == (0, DIMENSION)


def test_vectors_have_length_one_and_are_cut_before_that(pack: Path) -> None:
    with Embedder(pack) as embedder:
        full, cut = embedder.encode("ab"), embedder.encode("ab", truncate_dim=3)
    vector = np.array(answer("D: ab"))
    np.testing.assert_allclose(full, vector / np.linalg.norm(vector), rtol=1e-6)
    np.testing.assert_allclose(cut, vector[:3] / np.linalg.norm(vector[:3]), rtol=1e-6)


def test_an_appended_token_is_counted_and_kept_by_the_cut(make_pack: MakePack) -> None:
    with Embedder(make_pack(eos=True)) as embedder, pytest.warns(TruncationWarning):
        vector = embedder.encode("abcdef", prompt="", max_length=4, normalize=False)
    assert vector.tolist() == answer("abc", closing=(EOS,))


@pytest.mark.parametrize(
    ("options", "prompt", "task"),
    [
        ({}, "D: ", 1),
        ({"task": "retrieval"}, "D: ", 0),
        ({"task": "retrieval.query"}, "Q: ", 0),
        ({"task": "retrieval.passage"}, "D: ", 0),
        ({"task": "retrieval.query", "prompt_name": "query"}, "Q: ", 0),
        ({"task": "retrieval.query", "prompt": "ask: "}, "ask: ", 0),
        ({"prompt_name": "query"}, "Q: ", 1),
        ({"prompt": "lone \ud800 "}, "lone \ufffd ", 1),
        ({"prompt": ""}, "", 1),
    ],
)
def test_task_and_prompt(pack: Path, options: dict[str, Any], prompt: str, task: int) -> None:
    with Embedder(pack) as embedder:
        vector = embedder.encode("x", normalize=False, **options)
        assert vector.tolist() == answer(f"{prompt}x", task=task)
        assert embedder.count_tokens(["x", ""], **options).tolist() == [
            len(f"{prompt}x".encode()),
            len(prompt.encode()),
        ]


def test_queries_and_documents_mean_retrieval_where_the_pack_has_it(make_pack: MakePack) -> None:
    with Embedder(make_pack()) as embedder:
        query = embedder.encode_query("x", normalize=False)
        document = embedder.encode_document("x", normalize=False)
        other = embedder.encode_query("x", task="text-matching", prompt="", normalize=False)
    assert query.tolist() == answer("Q: x", task=0)
    assert document.tolist() == answer("D: x", task=0)
    assert other.tolist() == answer("x", task=1)
    passages = make_pack(
        "passages", tasks=("base",), prompts={"passage": "P: "}, default_prompt=None
    )
    with Embedder(passages) as embedder:
        assert embedder.encode_query("x", normalize=False).tolist() == answer("x", task=0)
        assert embedder.encode_document("x", normalize=False).tolist() == answer("P: x", task=0)


def test_a_side_without_a_prompt_of_its_own_gets_none(make_pack: MakePack) -> None:
    """As in Sentence Transformers, where the default prompt is that of `encode` alone."""
    with Embedder(make_pack(prompts={"query": "Q: "}, default_prompt="query")) as embedder:
        assert embedder.encode("x", normalize=False).tolist() == answer("Q: x", task=1)
    with Embedder(embedder.folder) as embedder:
        assert embedder.encode_document("x", normalize=False).tolist() == answer("x", task=0)
    corpus = make_pack("corpus", prompts={"corpus": "C: "}, default_prompt=None)
    with Embedder(corpus) as embedder:
        assert embedder.encode_document("x", normalize=False).tolist() == answer("C: x", task=0)
        assert embedder.encode_query("x", normalize=False).tolist() == answer("x", task=0)


def test_a_pack_without_prompts_puts_nothing_before_a_text(make_pack: MakePack) -> None:
    with Embedder(make_pack(tasks=("base",), prompts={}, default_prompt=None)) as embedder:
        assert embedder.encode("x", normalize=False).tolist() == answer("x", task=0)
        with pytest.raises(TextError, match="item 1: has no token"):
            embedder.encode(["x", ""])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"task": "translation"}, "'retrieval', 'text-matching'"),
        ({"task": 5}, "task is int"),
        ({"task": ["retrieval"]}, "task is list"),
        ({"prompt_name": "question"}, "'query', 'document'"),
        ({"prompt_name": "query", "prompt": "Q"}, "both given"),
        ({"prompt": 5}, "prompt is int"),
        ({"task": "retrieval.query", "prompt_name": "document"}, "means the prompt 'query'"),
        ({"truncate_dim": 0}, "within 1 and 8"),
        ({"truncate_dim": 9}, "within 1 and 8"),
        ({"truncate_dim": 2.0}, "truncate_dim"),
        ({"truncate_dim": True}, "truncate_dim"),
        ({"max_length": 65}, "within 1 and 64"),
        ({"max_length": 3}, "max_length 3 is too small"),
        ({"embedding_type": "float16"}, "ubinary"),
        ({"embedding_type": "int8", "ranges": [[0], [1]]}, r"\(2, 8\)"),
        ({"ranges": [[0], [1]]}, "ranges="),
        ({"on_overflow": "ignore"}, "on_overflow"),
    ],
)
def test_wrong_options_are_refused_before_any_run(
    pack: Path, sessions: list[FakeSession], options: dict[str, Any], told: str
) -> None:
    with Embedder(pack) as embedder, pytest.raises(OptionError, match=told):
        embedder.encode("x", **options)
    assert sessions == []


@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
def test_a_misspelt_option_is_no_silent_one(pack: Path, method: str) -> None:
    with Embedder(pack) as embedder, pytest.raises(TypeError, match="task_idd"):
        getattr(embedder, method)("x", task_idd="retrieval")


@pytest.mark.parametrize("method", ["encode_query", "encode_document"])
def test_queries_and_documents_choose_their_prompt_themselves(pack: Path, method: str) -> None:
    with Embedder(pack) as embedder, pytest.raises(TypeError, match=r"prompt=.* prompt_name="):
        getattr(embedder, method)("x", prompt_name="query")


def test_the_three_methods_take_the_same_options() -> None:
    options = get_type_hints(Embedder.encode)
    for name in ("texts", "prompt_name", "return"):
        del options[name]
    assert get_type_hints(EncodeOptions) == options


@pytest.mark.parametrize("method", ["encode_query", "encode_document"])
def test_queries_and_documents_hand_on_every_option(
    pack: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    seen: dict[str, Any] = {}
    given = {name: object() for name in get_type_hints(EncodeOptions)}
    with Embedder(pack) as embedder:
        monkeypatch.setattr(embedder, "encode", lambda texts, **options: seen.update(options))
        getattr(embedder, method)("x", **given)
    assert seen == {**given, "prompt_name": None}


def test_bad_items_are_listed_and_nothing_is_run(pack: Path, sessions: list[FakeSession]) -> None:
    with Embedder(pack) as embedder, pytest.raises(TextError) as caught:
        embedder.encode(["fine", None, b"x", "fine"])  # type: ignore[list-item]
    assert [index for index, _ in caught.value.items] == [1, 2]
    assert sessions == []


def test_odd_texts_pass(pack: Path) -> None:
    with Embedder(pack) as embedder:
        rows = embedder.encode(["\ud800", "nul\0", "😀", np.str_("s")], prompt="", normalize=False)
    assert rows.tolist() == [answer("\ufffd"), answer("nul\0"), answer("😀"), answer("s")]


# Batching, with a session that can be watched.


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=30),
    budget=st.integers(1, 300),
)
def test_any_texts_in_any_batches_give_the_vectors_of_each_alone(
    pack: Path, sessions: list[FakeSession], texts: list[str], budget: int
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        with Embedder(pack, token_budget=budget) as embedder:
            rows = embedder.encode(texts, normalize=False)
    expected = [answer(f"D: {text}"[: len(text) + 3], task=0) for text in texts]
    cut = [list(f"D: {text}".encode()[:64]) for text in texts]
    assert rows.shape == (len(texts), DIMENSION)
    for row, ids, whole in zip(rows.tolist(), cut, expected, strict=True):
        assert row == [sum(ids), len(ids), 0, *whole[3:]]


def test_runs_stay_within_the_token_budget(pack: Path, sessions: list[FakeSession]) -> None:
    texts = ["x" * (n % 40) for n in range(500)]
    with Embedder(pack, token_budget=256) as embedder:
        embedder.encode(texts)
    shapes = sessions[0].shapes
    assert sum(rows for rows, _ in shapes) == 500
    assert max(rows * length for rows, length in shapes) <= 256
    assert sum(rows * length for rows, length in shapes) < 1.1 * sum(len(t) + 3 for t in texts)


@pytest.mark.parametrize(
    ("held", "budget"), [(1, LEAST), (350, 350), (None, UNKNOWN), (9999, MOST)]
)
def test_without_one_they_stay_within_what_the_caches_hold(
    make_pack: MakePack,
    sessions: list[FakeSession],
    monkeypatch: pytest.MonkeyPatch,
    held: int | None,
    budget: int,
) -> None:
    """`held`: tokens that the caches of this CPU hold for one thread."""
    caches = None
    if held is not None:
        level = Cache(level=3, size=held * 2**16, cores=1)
        caches = CpuCaches(by_core=((level,),), processors=1)
    monkeypatch.setattr("embedge.choices.read_caches", lambda: caches)
    done: list[int] = []
    with Embedder(make_pack(memory=(2**16, 0.0)), threads=1) as embedder:
        assert embedder.choices["token_budget"].value == budget
        embedder.encode(["x" * 29] * 64, progress=lambda now, _: done.append(now))
    tokens = [rows * length for rows, length in sessions[0].shapes]
    assert sum(tokens) == 64 * 32
    assert max(tokens) <= budget < max(tokens) + 3 * 32
    assert len(done) == len(tokens)  # who waits hears of every run


def test_a_text_beyond_the_memory_limit_is_refused_before_any_run(
    make_pack: MakePack, sessions: list[FakeSession]
) -> None:
    pack = make_pack(memory=(2**20, 0.0))
    with Embedder(pack, memory_limit=20 * 2**20) as embedder:
        assert embedder.encode(["x" * 17] * 3).shape == (3, DIMENSION)
        assert sessions[0].shapes == [(1, 20)] * 3
        with pytest.raises(MemoryLimitError, match="item 1 has 21 tokens"):
            embedder.encode(["fine", "x" * 18])
        assert len(sessions[0].shapes) == 3


def test_on_error_takes_a_text_beyond_the_memory_limit(make_pack: MakePack) -> None:
    pack = make_pack(memory=(2**20, 0.0))
    bad: dict[int, str] = {}
    with Embedder(pack, memory_limit=20 * 2**20) as embedder:
        rows = embedder.encode(["ab", "b" * 30, "c"], on_error=bad.__setitem__)
        np.testing.assert_array_equal(rows[[0, 2]], embedder.encode(["ab", "c"]))
    assert np.isnan(rows[1]).all()
    assert list(bad) == [1]
    assert bad[1].startswith("has 33 tokens and would need about")


def test_the_runs_of_all_threads_and_tasks_share_the_memory_limit(
    make_pack: MakePack, sessions: list[FakeSession]
) -> None:
    """Runs of 20 tokens, of which the limit allows two at a time."""
    pack = make_pack(memory=(2**20, 0.0))
    running, most, lock = 0, 0, threading.Lock()

    def during() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1

    with Embedder(pack, memory_limit=45 * 2**20, token_budget=20) as embedder:
        for task in embedder.tasks[:2]:
            embedder.load(task)
        for session in sessions:
            session.during = during
        rows: list[Any] = []
        threads = [
            threading.Thread(
                target=lambda task=task: rows.append(embedder.encode(["x" * 17] * 4, task=task))
            )
            for task in embedder.tasks[:2] * 4
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == 2
    assert len(rows) == 8
    assert sum(len(session.shapes) for session in sessions) == 32


def test_the_pool_is_kept_between_the_runs_of_a_call_and_given_back_with_the_last(
    pack: Path, sessions: list[FakeSession]
) -> None:
    with Embedder(pack, token_budget=20) as embedder:
        embedder.encode(["x" * 17] * 3)
        assert sessions[0].kept == [True, True, False]
        embedder.encode("x")
        assert sessions[0].kept == [True, True, False, False]
        assert sessions[0].freed == 0


def test_a_call_that_ends_early_gives_the_pool_back(
    pack: Path, sessions: list[FakeSession]
) -> None:
    cancel = threading.Event()
    with Embedder(pack, token_budget=20) as embedder:
        with pytest.raises(CancelledError):
            embedder.encode(["x" * 17] * 3, cancel=cancel, progress=lambda *_: cancel.set())
        assert (sessions[0].kept, sessions[0].freed) == ([True], 1)
        embedder.encode("x")
        assert (sessions[0].kept, sessions[0].freed) == ([True, False], 1)


@pytest.mark.parametrize(
    ("version", "shapes"), [("1.27.1", [(1, 1040)] * 3), ("1.28.0", [(3, 1040)])]
)
def test_the_square_of_scores_counts_only_where_onnxruntime_holds_it(
    make_pack: MakePack,
    sessions: list[FakeSession],
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    shapes: list[tuple[int, int]],
) -> None:
    fake = SimpleNamespace(__version__=version)
    monkeypatch.setattr("embedge.engine.loading.load_runtime", lambda: fake)
    pack = make_pack(memory=(1, 2.0**20), max_length=2000)
    limit = 1040**2 * 2**20 + 1040  # for one text of 1,040 tokens, more than are held at once
    with Embedder(pack, memory_limit=limit, token_budget=4096) as embedder:
        embedder.encode(["x" * 1037] * 3)
        assert sessions[0].shapes == shapes
        if version < "1.28":
            with pytest.raises(MemoryLimitError, match="item 0 has 1041 tokens"):
                embedder.encode("x" * 1038)
        else:
            assert embedder.encode("x" * 1038).shape == (DIMENSION,)
        assert embedder.manifest.memory.per_token_squared == 2.0**20  # what the pack says stays


def test_sessions_are_opened_once_a_task_and_only_when_needed(
    pack: Path, sessions: list[FakeSession]
) -> None:
    with Embedder(pack, threads=3, arena=True, spin=False) as embedder:
        assert sessions == []
        for task in ("retrieval", "text-matching", "retrieval", "retrieval.query"):
            embedder.encode("x", task=task)
        names = [session.graph.name for session in sessions]
        assert names == ["retrieval.fp32.onnx", "text-matching.fp32.onnx"]
        options = {"tower": "text", "device": "cpu", "threads": 3, "arena": True}
        assert sessions[0].options == {**options, "spin": False, "memory": None}
        embedder.load("retrieval.query")
        assert len(sessions) == 2


def test_warm_up_loads_and_runs_one_short_text(pack: Path, sessions: list[FakeSession]) -> None:
    with Embedder(pack, warm_up=True) as embedder:
        assert [session.shapes for session in sessions] == [[(1, 1)]]
        embedder.encode("x")
    assert len(sessions) == 1


def test_threads_share_one_session_and_get_their_own_vectors(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    original = embedge.sessions.open_session

    def slowly(*arguments: Any, **options: Any) -> Any:
        opened.append(arguments)
        threading.Event().wait(0.05)
        return original(*arguments, **options)

    monkeypatch.setattr("embedge.sessions.open_session", slowly)
    wrong: list[str] = []
    with Embedder(pack) as embedder:

        def work(letter: str) -> None:
            texts = [letter * n for n in range(1, 30)]
            rows = embedder.encode(texts, normalize=False)
            if rows.tolist() != [answer(f"D: {text}") for text in texts]:
                wrong.append(letter)

        threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert len(opened) == 1


# Progress, cancelling, closing.


def test_progress_is_told_after_every_run(pack: Path, sessions: list[FakeSession]) -> None:
    told: list[tuple[int, int]] = []
    with Embedder(pack, token_budget=1) as embedder:
        embedder.encode(["a", "b", "c"], progress=lambda *state: told.append(state))
        embedder.encode([], progress=lambda *state: told.append(state))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_an_error_in_progress_reaches_the_caller_and_breaks_nothing(pack: Path) -> None:
    def fail(*_: int) -> None:
        raise ZeroDivisionError

    with Embedder(pack) as embedder:
        with pytest.raises(ZeroDivisionError):
            embedder.encode("x", progress=fail)
        assert embedder.encode("x", normalize=False).tolist() == answer("D: x")


def test_cancel_between_runs_and_before_them(pack: Path, sessions: list[FakeSession]) -> None:
    cancel = threading.Event()
    with Embedder(pack, token_budget=1) as embedder:
        with pytest.raises(CancelledError, match="after 2 of 5"):
            embedder.encode(
                ["x"] * 5, cancel=cancel, progress=lambda done, _: done == 2 and cancel.set()
            )
        assert len(sessions[0].shapes) == 2
        with pytest.raises(CancelledError):
            embedder.encode("x", cancel=cancel)
        assert len(sessions[0].shapes) == 2
        cancel.clear()
        assert embedder.encode("x", cancel=cancel).shape == (DIMENSION,)


def test_a_closed_embedder_says_so_and_closing_twice_is_fine(pack: Path) -> None:
    embedder = Embedder(pack)
    embedder.encode("x")
    embedder.close()
    embedder.close()
    for call in (embedder.encode, embedder.encode_query, embedder.count_tokens, embedder.load):
        with pytest.raises(ClosedError, match="closed"):
            call("retrieval")
    with pytest.raises(ClosedError), embedder:
        pass
    assert "closed" in repr(embedder)
    assert embedder.dimension == DIMENSION  # what the manifest says stays


def test_a_call_under_way_ends_well_when_the_embedder_is_closed(
    pack: Path, sessions: list[FakeSession]
) -> None:
    with Embedder(pack, token_budget=1) as embedder:
        embedder.load()
        sessions[0].during = embedder.close
        assert embedder.encode("x").shape == (DIMENSION,)
    with Embedder(pack, token_budget=1) as embedder:
        embedder.load()
        sessions[1].during = embedder.close
        assert embedder.encode(["x", "y"]).shape == (2, DIMENSION)
        with pytest.raises(ClosedError):
            embedder.encode("x")
    assert len(sessions) == 2  # none was opened again


# What is too long, what is not finite.


def test_cuts_warn_once_an_embedder_and_are_counted(pack: Path) -> None:
    long = "x" * 100
    with Embedder(pack) as embedder:
        assert embedder.encode("x" * 61)[0] > 0
        assert embedder.truncations == 0
        with pytest.warns(TruncationWarning, match="item 1 has more than 64 tokens") as caught:
            embedder.encode(["x", long, long])
        assert len(caught) == 1
        assert Path(caught[0].filename) == Path(__file__)
        embedder.encode(long, max_length=8)  # warnings are errors here: a second one would fail
        assert embedder.truncations == 3
        with pytest.raises(TextTooLongError, match="item 1 is longer than 64 tokens"):
            embedder.encode(["x", long], on_overflow="error")
        assert embedder.truncations == 3


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_vector_that_is_not_finite_names_item_precision_and_remedy(
    make_pack: MakePack, sessions: list[FakeSession], precision: str
) -> None:
    pack = make_pack(precisions=("fp32", "fp16"))

    def poison(vectors: Any) -> None:
        vectors[vectors[:, 1] == 3 + 2, 4] = np.nan  # the text of two letters

    remedy = "embedge verify" if precision == "fp32" else 'precision="fp32"'
    with Embedder(pack, precision=precision, device="cpu") as embedder:
        embedder.load()
        sessions[0].poison = poison
        with pytest.raises(NonFiniteError, match=f"item 2: .* in {precision} .*{remedy}"):
            embedder.encode(["xxx", "x", "yy", "xxxx"])


def test_a_graph_of_another_width_is_refused(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrow(FakeSession):
        def run(self, *arguments: Any, **options: Any) -> Any:
            return super().run(*arguments, **options)[:, :4]

    monkeypatch.setattr("embedge.sessions.open_session", Narrow)
    with Embedder(pack) as embedder, pytest.raises(PackFileError, match=r"\(1, 4\).*\(1, 8\)"):
        embedder.encode("x")


# Types.


def test_every_embedding_type_end_to_end(pack: Path) -> None:
    ranges = np.stack([np.full(DIMENSION, -1.0), np.full(DIMENSION, 1.0)])
    bits = np.packbits(np.array(answer("D: x")) > 0)
    with Embedder(pack) as embedder:
        assert embedder.encode("x", embedding_type="ubinary").tolist() == bits.tolist()
        assert embedder.encode(["x"], embedding_type="binary").tolist() == [[int(bits[0]) - 128]]
        for kind in ("int8", "uint8"):
            row = embedder.encode("x", embedding_type=kind, ranges=ranges)
            assert (row.shape, row.dtype) == ((DIMENSION,), np.dtype(kind))
            narrow = embedder.encode(
                ["x"], embedding_type=kind, ranges=ranges[:, :2], truncate_dim=2
            )
            assert narrow.shape == (1, 2)
            with pytest.warns(RangesWarning, match="2 vectors"):
                embedder.encode(["x", "y"], embedding_type=kind)
        assert embedder.encode([], embedding_type="ubinary").shape == (0, 1)


def test_similarity_is_the_cosine(pack: Path) -> None:
    with Embedder(pack) as embedder:
        rows = embedder.encode(["a", "b", "something else"], normalize=False)
        np.testing.assert_allclose(np.diag(embedder.similarity(rows, rows)), 1, rtol=1e-6)
        assert embedder.similarity(rows[0], rows).shape == (1, 3)


# Choices.


def test_choices_are_frozen_and_say_why(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedge.choices.read_caches", lambda: None)  # another machine, another run
    with Embedder(pack, threads=3, memory_limit=2**30) as embedder:
        assert list(embedder.choices) == [
            *("precision", "device", "threads", "priority", "memory_limit", "token_budget")
        ]
        assert all(choice.reason for choice in embedder.choices.values())
        assert embedder.choices["threads"] == Choice(3, "threads= was given")
        assert (embedder.precision, embedder.device, embedder.threads) == ("fp32", "cpu", 3)
        assert embedder.choices["memory_limit"].value == 2**30
        assert embedder.choices["token_budget"].value == UNKNOWN
        with pytest.raises(TypeError):
            embedder.choices["threads"] = Choice(1, "")  # type: ignore[index]


def test_what_the_manifest_says_is_at_hand(pack: Path) -> None:
    with Embedder(str(pack)) as embedder:
        assert embedder.manifest == read_manifest(pack)
        assert embedder.folder == pack
        assert embedder.tasks == ("retrieval", "text-matching")
        assert embedder.prompts == {"query": "Q: ", "document": "D: "}
        assert (embedder.dimension, embedder.max_length) == (8, 64)
        assert "tests/tiny (fp32 on cpu)" in repr(embedder)


def test_int8_on_a_cpu_whose_kernels_are_inexact_is_refused(
    make_pack: MakePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    inexact = Choice(INEXACT, "for the test")
    monkeypatch.setattr("embedge.sessions.integer_kernel", lambda: inexact)
    with Embedder(make_pack(precisions=("fp32", "int8"))) as embedder:
        assert embedder.precision == "int8"
        with pytest.raises(DeviceError, match="for the test"):
            embedder.encode("x")


GPU_MEMORY = GpuMemory(free=6 * 10**9, total=8 * 10**9)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU with 6 GB free, whose sessions `sessions` makes up."""
    monkeypatch.setattr("embedge.engine.providers.cuda.cuda_problem", lambda: None)
    monkeypatch.setattr("embedge.engine.providers.cuda.read_gpu_memory", lambda: GPU_MEMORY)


@pytest.mark.usefixtures("gpu")
def test_cuda_gets_fp16_its_own_budget_and_a_limit_of_its_own_memory(
    make_pack: MakePack, sessions: list[FakeSession]
) -> None:
    folder = make_pack(precisions=("fp32", "fp16", "int8"), memory=(200_000, 0.0))
    with Embedder(folder) as embedder:
        assert (embedder.device, embedder.precision) == ("cuda", "fp16")
        limit = embedder.choices["memory_limit"]
        graph = embedder.manifest.graph(task="text-matching", precision="fp16")
        weights = sum(embedder.manifest.files[name].size for name in (graph.file, *graph.data))
        assert limit.value == 3 * 10**9 - weights
        assert "5.6 GiB of the GPU's 7.5 GiB are free" in limit.reason
        budget = embedder.choices["token_budget"]
        assert 2 * budget.value * round(200_000 * SHARES.decoder) <= limit.value
        assert 7_000 < budget.value < 16_384
        embedder.encode("x")
    assert sessions[0].options["device"] == "cuda"
    assert sessions[0].options["memory"] == limit.value + weights + POOL_SLACK


@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_runs_come_from_the_largest_down_and_keep_their_pool(
    make_pack: MakePack, sessions: list[FakeSession]
) -> None:
    folder = make_pack(precisions=("fp16",), memory=(1000, 0.0))
    # By length alone it would be 1 x 60, then 3 x 33.
    texts = ["x" * 57, *["y" * 30] * 3]
    with Embedder(folder, token_budget=100) as embedder:
        rows = embedder.encode(texts, normalize=False)
        assert rows.tolist() == [[*answer(f"D: {text}")[:2], 0, *TAIL] for text in texts]
        assert sessions[0].shapes == [(3, 33), (1, 64)]
        assert sessions[0].kept == [True, True]
        assert sessions[0].freed == 0


@pytest.mark.usefixtures("gpu")
def test_a_pool_without_room_for_a_larger_run_is_given_back_before_it(
    make_pack: MakePack, sessions: list[FakeSession]
) -> None:
    folder = make_pack(precisions=("fp16",), memory=(1000, 0.0))
    per_token = round(1000 * SHARES.decoder)
    with Embedder(folder, memory_limit=120 * per_token) as embedder:
        for length, freed in ((17, 0), (27, 0), (22, 0), (37, 1), (37, 1), (7, 1)):
            # With its prompt 3 tokens more; two, for one alone is padded to a fixed length.
            embedder.encode(["x" * length] * 2)
            assert sessions[0].freed == freed, length


class Cramped:
    """A GPU that holds so many tokens; what is beyond fails as ONNX Runtime's pool does."""

    def __init__(self, session: FakeSession, *, holds: int, after_free: int = 0) -> None:
        self.holds, self.after_free, self.session = holds, after_free, session

    def __call__(self) -> None:
        rows, length = self.session.shapes[-1]
        if rows * length > (self.after_free if self.session.freed else self.holds):
            raise MemoryLimitError("no memory for it: the pool is full")


@pytest.mark.usefixtures("gpu")
def test_a_run_that_finds_no_memory_is_tried_again_and_then_in_halves(
    make_pack: MakePack, sessions: list[FakeSession]
) -> None:
    texts = ["abcd"] * 5
    with Embedder(make_pack(precisions=("fp16",))) as embedder:
        embedder.encode("x")
        [session] = sessions
        plain = embedder.encode(texts)
        session.shapes.clear()
        session.during = Cramped(session, holds=10, after_free=99)
        assert np.array_equal(embedder.encode(texts), plain)  # the pool was in pieces
        assert session.shapes == [(5, 7)] * 2
        session.during = Cramped(session, holds=14, after_free=14)
        session.shapes.clear()
        assert np.array_equal(embedder.encode(texts), plain)
        done = [shape for shape in session.shapes if shape[0] * shape[1] <= 14]
        assert sum(rows for rows, _ in done) == 5
        session.during = lambda: None
        assert np.array_equal(embedder.encode(texts), plain)


@pytest.mark.usefixtures("gpu")
def test_a_text_that_does_not_fit_alone_is_named_and_the_embedder_goes_on(
    make_pack: MakePack, sessions: list[FakeSession]
) -> None:
    with Embedder(make_pack(precisions=("fp16",)), token_budget=40) as embedder:
        embedder.encode("x")
        [session] = sessions
        session.during = Cramped(session, holds=30, after_free=30)
        with pytest.raises(
            MemoryLimitError, match=r"item 1 does not fit into the memory of the GPU"
        ):
            embedder.encode(["short", "x" * 31, "short"])
        assert embedder.encode(["short", "other"]).shape == (2, DIMENSION)


@pytest.mark.usefixtures("gpu")
def test_one_short_text_is_padded_to_a_fixed_length_and_captured_where_that_works(
    make_pack: MakePack, sessions: list[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Graphs:
        def __init__(self, open_session: Any) -> None:
            self.open_session = open_session

        def capture(self, length: int) -> None:
            captured.append(length)

        def run(self, ids: Any, mask: Any) -> Any:
            return sessions[0].run(ids, mask) if ids.shape[1] in captured else None

        def close(self) -> None:
            captured.clear()

    captured: list[int] = []
    monkeypatch.setattr("embedge.engine.providers.cuda.CudaGraphs", Graphs)
    with Embedder(make_pack(precisions=("fp16",)), memory_limit="2GB") as embedder:
        assert embedder.choices["cuda_graphs"].value == "none"
        rows = [embedder.encode("abc", normalize=False) for _ in range(USES)]
        until_captured()
        assert captured == [32]
        rows += [embedder.encode("abc", normalize=False) for _ in range(3)]
        assert all(np.array_equal(row, rows[0]) for row in rows)
        assert rows[0].tolist()[:2] == answer("D: abc")[:2]  # padding does not count
        assert set(sessions[0].shapes) == {(1, 32)}
        assert embedder.choices["cuda_graphs"].value == "text-matching: 32"
    with Embedder(make_pack(precisions=("fp16",)), memory_limit="100MB") as embedder:
        for _ in range(USES):
            embedder.encode("abc")
        assert "more than half of the memory limit" in embedder.choices["cuda_graphs"].reason


def until_captured() -> None:
    for thread in threading.enumerate():
        if thread.name == "embedge-capture":
            thread.join(10)


@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_texts_are_tokenized_while_others_run(
    make_pack: MakePack, sessions: list[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{'ab' * (number % 20)}{number}" for number in range(50)]
    folder = make_pack(precisions=("fp16",))
    with Embedder(folder) as embedder:
        at_once = embedder.encode(texts, normalize=False)
    monkeypatch.setattr("embedge.encoder.AHEAD", Window(first=4, most=8, size=150))
    told: list[tuple[int, int]] = []
    with Embedder(folder) as embedder:
        rows = embedder.encode(texts, normalize=False, progress=lambda *now: told.append(now))
        assert np.array_equal(rows, at_once)
        assert told[-1] == (50, 50)
        assert len(told) > 6
        assert sessions[1].shapes[0][0] == 4
        counted = embedder.encoder.tokens
        assert counted == embedder.count_tokens(texts).sum()
        # Nothing runs where a text may be refused for its length.
        sessions[1].shapes.clear()
        with pytest.raises(TextTooLongError, match="item 49"):
            embedder.encode([*texts[:49], "x" * 99], on_overflow="error")
        assert sessions[1].shapes == []


@pytest.mark.usefixtures("gpu")
def test_of_texts_tokenized_ahead_the_bad_and_the_cut_ones_keep_their_places(
    make_pack: MakePack, sessions: list[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network has 257 rows, and "<eos>" is token 257."""
    monkeypatch.setattr("embedge.encoder.AHEAD", Window(first=2, most=2, size=None))
    folder = make_pack(precisions=("fp16",))
    edit_manifest(folder, lambda root: root["text"].update(vocabulary_size=257))
    texts = ["ab", "cd", "ef", "a<eos>b", "gh", "i" * 99, "kl"]
    with Embedder(folder) as embedder:
        with (
            pytest.warns(TruncationWarning, match="item 5 has more"),
            pytest.raises(TextError) as caught,
        ):
            embedder.encode(texts, normalize=False)
        assert [index for index, _ in caught.value.items] == [3]
        assert caught.value.vectors is not None
        assert np.isnan(caught.value.vectors).all(axis=1).tolist() == [i == 3 for i in range(7)]
        bad: list[int] = []
        rows = embedder.encode(texts, normalize=False, on_error=lambda index, _: bad.append(index))
        assert (bad, embedder.truncations) == ([3], 2)
        assert rows[6].tolist()[:2] == answer("D: kl")[:2]
        cancel = threading.Event()
        sessions[0].during = cancel.set
        with pytest.raises(CancelledError):
            embedder.encode(texts, cancel=cancel)


def test_on_a_cpu_a_run_without_memory_is_not_tried_again(
    pack: Path, sessions: list[FakeSession]
) -> None:
    with Embedder(pack) as embedder:
        embedder.encode("x")
        [session] = sessions
        session.shapes.clear()
        session.during = Cramped(session, holds=5, after_free=5)
        with pytest.raises(MemoryLimitError, match="the pool is full"):
            embedder.encode("abcdef")
        assert len(session.shapes) == 1


@pytest.mark.parametrize("options", [{"threads": 0}, {"token_budget": -1}, {"memory_limit": 0.5}])
def test_wrong_numbers_are_named(pack: Path, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        Embedder(pack, **options)


def test_packs_that_cannot_embed_text_are_refused(make_pack: MakePack) -> None:
    with pytest.raises(PackError, match="no text input"):
        Embedder(make_pack(text=None))
    lopsided = make_pack("lopsided")
    graphs = read_manifest(lopsided).graphs
    with pytest.raises(PackError, match="no precision covers every task"):
        Embedder(make_pack("lopsided", graphs=graphs[:1]))


def test_the_memory_limit_leaves_room_for_the_weights(
    make_pack: MakePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedge.machine.resources.read_available_memory", lambda: 10 * 2**30)
    free = MemoryCost(per_token=0, per_token_squared=0)
    with Embedder(make_pack(memory=(0, 0.0))) as embedder:
        assert embedder.manifest.memory == free
        graph = embedder.manifest.graph(task="text-matching", precision="fp32")
        files = embedder.manifest.files
        weights = files[graph.file].size + files["shared.bin"].size
        assert embedder.choices["memory_limit"].value == int(0.8 * (10 * 2**30 - weights))


def test_a_text_that_cannot_be_embedded_costs_itself(make_pack: MakePack) -> None:
    """The network has 257 rows, and "<eos>" is token 257."""
    folder = make_pack()
    edit_manifest(folder, lambda root: root["text"].update(vocabulary_size=257))
    texts = ["ab", "a<eos>b", "cd"]
    with Embedder(folder) as embedder:
        with pytest.raises(TextError, match=r"item 1: gives the token '<eos>'.*holds all the") as e:
            embedder.encode(texts, prompt="", normalize=False)
        assert e.value.vectors[[0, 2]].tolist() == [answer("ab"), answer("cd")]
        assert np.isnan(e.value.vectors[1]).all()
        with pytest.raises(TextError) as alone:
            embedder.encode(texts[1])
        assert alone.value.vectors.shape == (DIMENSION,)
        small = embedder.encode(texts, embedding_type="ubinary", on_error=lambda *_: None)
        assert small[1].tolist() == [0]


def test_on_error_hears_of_every_bad_text_and_nothing_is_raised(make_pack: MakePack) -> None:
    folder = make_pack()
    edit_manifest(folder, lambda root: root["text"].update(vocabulary_size=257))
    told: list[tuple[int, str]] = []
    done: list[tuple[int, int]] = []
    with Embedder(folder) as embedder:
        vectors = embedder.encode(
            ["ab", None, "<eos>", "x" * 65, "", "cd"],  # type: ignore[list-item]
            prompt="",
            normalize=False,
            on_overflow="error",
            on_error=lambda *item: told.append(item),
            progress=lambda *item: done.append(item),
        )
    assert sorted(index for index, _ in told) == [1, 2, 3, 4]
    reasons = dict(told)
    assert reasons[1] == "is None, not str"
    assert "longer than 64 tokens" in reasons[3]
    assert vectors[[0, 5]].tolist() == [answer("ab"), answer("cd")]
    assert np.isnan(vectors[[1, 2, 3, 4]]).all()
    assert done[-1] == (6, 6)


def test_progress_is_called_while_long_texts_are_tokenized(pack: Path) -> None:
    done: list[tuple[int, int]] = []
    with Embedder(pack) as embedder, pytest.warns(TruncationWarning):
        embedder.encode(["x" * 10_000] * 3, progress=lambda *item: done.append(item))
    assert done == [(0, 3), (0, 3), (0, 3), (3, 3)]
