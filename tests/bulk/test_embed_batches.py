"""EmbedBatches itself, on dicts of lists and arrays; tests/engines has it in the engines."""

import copy
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge import Embedder, ImageError, InputError, MemoryLimitError, OptionError, TextError
from embedge.bulk import EmbedBatches
from embedge.bulk.embed_batches import distinct
from support.tiny import IMAGE

TEXTS = ["ab", "c", "ab", "", "déf"]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `Embedder.encode` was called with."""
    seen: list[Any] = []
    encode = Embedder.encode

    def spy(self: Embedder, texts: Any, **options: Any) -> Any:
        seen.append((list(texts), options))
        return encode(self, texts, **options)

    monkeypatch.setattr(Embedder, "encode", spy)
    return seen


@pytest.fixture
def documents(pack: Path) -> np.ndarray:
    with Embedder(pack) as embedder:
        return embedder.encode_document(TEXTS)


def test_a_dict_of_lists_gets_a_list(pack: Path, documents: np.ndarray) -> None:
    batch = {"id": [5, 6, 7, 8, 9], "text": TEXTS}
    result = EmbedBatches(pack)(batch)
    assert list(result) == ["id", "text", "embedding"]
    assert result["id"] == batch["id"]
    assert isinstance(result["embedding"], list)
    np.testing.assert_array_equal(result["embedding"], documents)
    assert list(batch) == ["id", "text"]  # what came in stays as it was


@pytest.mark.parametrize("dtype", [object, str])
def test_a_dict_of_arrays_gets_an_array(pack: Path, documents: np.ndarray, dtype: type) -> None:
    batch = {"id": np.arange(5), "title": np.array(TEXTS, dtype)}
    result = EmbedBatches(pack, column="title", into="vector")(batch)
    assert list(result) == ["id", "title", "vector"]
    assert result["id"] is batch["id"]
    assert result["vector"].dtype == np.float32
    np.testing.assert_array_equal(result["vector"], documents)


def test_other_mappings_and_a_column_of_the_same_name(pack: Path, documents: np.ndarray) -> None:
    result = EmbedBatches(pack)(MappingProxyType({"text": TEXTS, "embedding": [0] * 5}))
    assert isinstance(result, Mapping)
    np.testing.assert_array_equal(result["embedding"], documents)


def test_an_empty_batch_has_an_empty_column(pack: Path) -> None:
    embed = EmbedBatches(pack, on_error="null", truncate_dim=4)
    arrays = embed({"text": np.array([], object)})
    assert arrays["embedding"].shape == (0, 4)
    assert arrays["embedding"].dtype == np.float32
    assert embed({"text": []}) == {"text": [], "embedding": [], "embedding_error": []}


@pytest.mark.parametrize(
    ("options", "method", "same"),
    [
        ({}, "encode_document", {}),
        ({"side": "query"}, "encode_query", {}),
        ({"side": "query", "task": "text-matching"}, "encode_query", {"task": "text-matching"}),
        ({"side": "document", "prompt": "P"}, "encode_document", {"prompt": "P"}),
        ({"task": "retrieval.query"}, "encode", {"task": "retrieval.query"}),
        ({"task": "text-matching"}, "encode", {"task": "text-matching"}),
        ({"prompt_name": "query"}, "encode", {"prompt_name": "query"}),
        ({"prompt": ""}, "encode", {"prompt": ""}),
        (
            {"truncate_dim": 4, "normalize": False, "max_length": 5},
            "encode_document",
            {"truncate_dim": 4, "normalize": False, "max_length": 5},
        ),
        ({"embedding_type": "binary"}, "encode_document", {"embedding_type": "binary"}),
        (
            {"embedding_type": "uint8", "ranges": [[-1] * 8, [1] * 8]},
            "encode_document",
            {"embedding_type": "uint8", "ranges": [[-1] * 8, [1] * 8]},
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::embedge.TruncationWarning")
def test_vectors_are_those_of_the_embedder(
    pack: Path, options: Any, method: str, same: Any
) -> None:
    embed = EmbedBatches(pack, **options)
    with Embedder(pack) as embedder:
        expected = getattr(embedder, method)(["ab", "longer than five"], **same)
    found = embed({"text": np.array(["ab", "longer than five"])})["embedding"]
    assert found.dtype == expected.dtype == embed.dtype
    np.testing.assert_array_equal(found, expected)
    assert embed.width == expected.shape[1]


def test_equal_texts_are_embedded_once(pack: Path, encoded: list[Any]) -> None:
    EmbedBatches(pack)({"text": TEXTS})
    EmbedBatches(pack, on_error="null")({"text": [*TEXTS, None, None]})
    assert [texts for texts, _ in encoded] == [
        ["ab", "c", "", "déf"],
        ["ab", "c", "", "déf", None, None],
    ]


@given(st.lists(st.one_of(st.sampled_from(["a", b"a", "b", None]), st.text())))
def test_distinct_values_stand_for_all(values: list[Any]) -> None:
    items, places = distinct(values)
    assert [items[place] for place in places] == values
    texts = [item for item in items if isinstance(item, (str, bytes))]
    assert len(set(texts)) == len(texts)


def test_an_error_counts_the_rows_of_the_batch(make_pack: Any) -> None:
    pack = make_pack(memory=(2**20, 0.0))
    embed = EmbedBatches(pack)
    with pytest.raises(TextError) as caught:
        embed({"text": ["a", "a", "a", None, "a", 5]})
    assert caught.value.items == [(3, "is None, not str"), (5, "is int, not str")]
    with (
        Embedder(pack, memory_limit=20 * 2**20) as small,
        pytest.raises(MemoryLimitError, match="item 2 has"),
    ):
        EmbedBatches(small)({"text": ["a", "a", "x" * 30]})


def test_bad_rows_have_no_vector_and_a_reason(pack: Path, documents: np.ndarray) -> None:
    embed = EmbedBatches(pack, on_error="null")
    bad = [None, *TEXTS, b"bytes", 1.5, "\ud800"]
    listed = embed({"text": bad})
    assert [row is None for row in listed["embedding"]] == [True, *[False] * 5, True, True, False]
    np.testing.assert_array_equal(listed["embedding"][1:6], documents)
    assert listed["embedding_error"] == [
        "is None, not str",
        *[None] * 5,
        "is bytes, not str",
        "is float, not str",
        None,
    ]
    arrays = embed({"text": np.array(bad, object)})
    assert np.isnan(arrays["embedding"][[0, 6, 7]]).all()
    np.testing.assert_array_equal(arrays["embedding"][1:6], documents)
    assert arrays["embedding_error"].tolist() == listed["embedding_error"]


def test_bad_rows_of_bits_are_zeros_in_an_array(pack: Path) -> None:
    embed = EmbedBatches(pack, on_error="null", embedding_type="ubinary", errors="why")
    result = embed({"text": np.array(["a", None], object)})
    assert result["embedding"][1].tolist() == [0]
    assert result["why"].tolist() == [None, "is None, not str"]


def test_texts_that_are_too_long_are_bad_rows(make_pack: Any) -> None:
    pack = make_pack(memory=(2**20, 0.0))
    embed = EmbedBatches(pack, on_error="null", on_overflow="error", max_length=10)
    result = embed({"text": ["ab", "x" * 30, "ab"]})
    assert "is longer than 10 tokens" in result["embedding_error"][1]
    with Embedder(pack, memory_limit=20 * 2**20) as embedder:
        result = EmbedBatches(embedder, on_error="null")({"text": ["ab", "x" * 30, "ab"]})
    assert "the limit is 20" in result["embedding_error"][1]
    assert [row is None for row in result["embedding"]] == [False, True, False]


def test_images_are_paths_bytes_and_records(make_pack: Any, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pack = make_pack(image=IMAGE)
    path = tmp_path / "red.png"
    image.fromarray(np.full((8, 8, 3), (255, 51, 0), np.uint8)).save(path)
    data = path.read_bytes()
    with Embedder(pack) as embedder:
        expected = embedder.encode_image(path)
    embed = EmbedBatches(pack, tower="image", column="photo", on_error="null")
    records = [{"bytes": data, "path": None}, {"bytes": None, "path": str(path)}]
    result = embed({"photo": [str(path), path, data, data, *records, "missing.png", None]})
    for row in result["embedding"][:6]:
        np.testing.assert_array_equal(row, expected)
    assert result["embedding"][6:] == [None, None]
    assert result["embedding_error"][:6] == [None] * 6
    assert "missing.png" in result["embedding_error"][6]
    rooted = EmbedBatches(pack, tower="image", column="photo", root=tmp_path, on_error="null")
    same = ["red.png", {"bytes": None, "path": "red.png"}, str(path), data]
    result = rooted({"photo": [*same, "blue.png", "", "https://example.com/a.png"]})
    for row in result["embedding"][:4]:
        np.testing.assert_array_equal(row, expected)
    reasons = result["embedding_error"][4:]
    expected_reasons = (f"'{tmp_path / 'blue.png'}' does not exist", "does not exist", "is a URL")
    for reason, part in zip(reasons, expected_reasons, strict=True):
        assert part in reason
    with pytest.raises(ImageError) as caught:
        EmbedBatches(pack, tower="image", column="photo")({"photo": [data, data, "missing.png"]})
    assert [index for index, _ in caught.value.items] == [2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"embedding_type": "int8"}, "int8 needs ranges="),
        ({"embedding_type": "half"}, "embedding_type 'half' is unknown"),
        ({"on_error": "ignore"}, "on_error 'ignore' is unknown; choose one of raise, null"),
        ({"errors": "why"}, 'errors= is for on_error="null"'),
        ({"into": "text"}, "they must be different texts"),
        ({"column": 3}, "they must be different texts"),
        ({"on_error": "null", "errors": "text"}, "they must be different texts"),
        ({"side": "left"}, "side 'left' is unknown"),
        ({"side": "query", "prompt_name": "query"}, "side= chooses the prompt"),
        ({"tower": "sound"}, "tower 'sound' is unknown"),
        ({"tower": "image", "side": "query"}, "side= is for texts"),
        ({"root": "photos"}, "root= is for images"),
        ({"tower": "image", "on_overflow": "error"}, "on_overflow= is for texts"),
    ],
)
def test_options_that_contradict_each_other_are_refused_at_once(options: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        EmbedBatches("no-such-pack", **options)


def test_an_unknown_option_names_the_right_one() -> None:
    other: dict[str, Any] = {"dimensions": 5}
    with pytest.raises(TypeError, match="truncate_dim"):
        EmbedBatches(**other)


def test_options_of_an_embedder_that_is_open_are_refused(pack: Path) -> None:
    with Embedder(pack) as embedder, pytest.raises(OptionError, match="are those of the Embedder"):
        EmbedBatches(embedder, threads=1)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"body": ["a"]}, r"no column 'text'; it has 'body'. Name one with column="),
        ({}, r"no column 'text'; it has none"),
        ({"text": "one row"}, r"the column 'text' is str, not a list or an array.*batched=True"),
        ({"text": 5}, r"the column 'text' is int"),
        (["a", "b"], r"a batch is <class 'list'>; it must be a dict of lists or arrays"),
        (None, r"a batch is <class 'NoneType'>"),
    ],
)
def test_what_is_no_batch_is_refused(pack: Path, batch: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        EmbedBatches(pack)(batch)


def test_nothing_is_opened_before_the_first_batch(tmp_path: Path) -> None:
    embed = EmbedBatches(tmp_path / "not-there-yet")
    assert isinstance(pickle.loads(pickle.dumps(embed)), EmbedBatches)
    with pytest.raises(InputError):
        embed([])
    with pytest.raises(Exception, match="not-there-yet"):
        embed({"text": ["a"]})


def test_it_is_pickled_without_what_it_opened(pack: Path, documents: np.ndarray) -> None:
    embed = EmbedBatches(pack)
    before = pickle.dumps(embed)
    embed({"text": TEXTS})
    assert pickle.dumps(embed) == before  # `datasets` knows its cache by these bytes
    assert len(before) < 2000
    again = [pickle.loads(before) for _ in range(3)]
    for one in (*again, copy.copy(embed), copy.deepcopy(embed)):
        np.testing.assert_array_equal(one({"text": TEXTS})["embedding"], documents)
    assert len({id(one.embedder) for one in (embed, *again)}) == 1


def opened(embed: EmbedBatches) -> int:
    embed({"text": ["a"]})
    return id(embed.embedder)


def test_a_worker_opens_the_pack_once(pack: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seen = pool.map(opened, [EmbedBatches(pack) for _ in range(4)], chunksize=1)
        assert len(set(seen)) == 1
        rows = pool.map(EmbedBatches(pack), [{"text": ["a"]}, {"text": []}], chunksize=1)
    assert [len(one["embedding"]) for one in rows] == [1, 0]


def test_an_embedder_is_used_as_it_is_and_pickled_with_its_fingerprint(pack: Path) -> None:
    with Embedder(pack, token_budget=7) as embedder:
        embed = EmbedBatches(embedder)
        assert embed.embedder is embedder
        again = pickle.loads(pickle.dumps(embed))
        assert again.embedder is not embedder
        assert again.embedder.options == embedder.options


def test_a_pack_that_was_closed_is_opened_again(pack: Path) -> None:
    first = EmbedBatches(pack)
    first.embedder.close()
    assert len(EmbedBatches(pack)({"text": ["a"]})["embedding"]) == 1


def test_frames_are_recognized_without_their_libraries(pack: Path) -> None:
    code = (
        "import sys; from embedge.bulk import EmbedBatches; "
        f"EmbedBatches({str(pack)!r})({{'text': ['a']}}); "
        "print(sorted({'pandas', 'polars', 'pyarrow'} & {m.split('.')[0] for m in sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_package_knows_its_names() -> None:
    import embedge.bulk

    assert dir(embedge.bulk) == ["EmbedBatches"]
    with pytest.raises(AttributeError, match=r"'embedge\.bulk' has no attribute 'Nobody'"):
        _ = embedge.bulk.Nobody
    assert repr(EmbedBatches("a-pack")) == "<EmbedBatches 'text' into 'embedding' with a-pack>"
