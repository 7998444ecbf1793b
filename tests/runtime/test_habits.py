"""Names of other libraries: the error says what they are called here, and nothing else changes."""

import copy
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import embedge
from embedge import Embedder, habits


@pytest.mark.parametrize(
    ("keyword", "right"),
    [
        ("batch_size", "token_budget="),
        ("show_progress_bar", "progress=True"),
        ("normalize_embeddings", "normalize="),
        ("convert_to_numpy", "NumPy array"),
        ("convert_to_tensor", "torch.from_numpy"),
        ("precision", 'embedding_type="int8"'),
        ("dimensions", "truncate_dim="),
        ("device", "Embedder"),
        ("num_workers", "threads="),
        ("truncate_dims", "did you mean 'truncate_dim'"),
        ("surprise", "it takes texts, task, prompt_name"),
    ],
)
def test_an_unknown_keyword_names_the_right_one(pack: Path, keyword: str, right: str) -> None:
    with Embedder(pack) as embedder:
        for method in (embedder.encode, embedder.encode_query, embedder.encode_document):
            with pytest.raises(TypeError) as caught:
                method(["a"], **{keyword: True})
            assert keyword in str(caught.value)
            assert right in str(caught.value)


def test_keywords_of_other_functions(pack: Path) -> None:
    for keyword, right in (
        ("model_name_or_path", "first argument"),
        ("trust_remote_code", "no code"),
        ("truncate_dim", "truncate_dim= of encode"),
        ("thread", "did you mean 'threads'"),
    ):
        with pytest.raises(TypeError, match=right):
            Embedder(pack, **{keyword: True})
    with Embedder(pack) as embedder, pytest.raises(TypeError, match="normalize="):
        embedder.encode_image([], normalize_embeddings=True)  # type: ignore[call-arg]


def test_other_type_errors_stay_as_they_are(pack: Path) -> None:
    def progress(done: int, total: int) -> None:
        raise TypeError("of the caller")

    with Embedder(pack) as embedder:
        with pytest.raises(TypeError, match="of the caller"):
            embedder.encode(["a"], progress=progress)
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'texts'"):
            embedder.encode()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("embed", "encode(texts)"),
        ("query_embed", "encode_query"),
        ("passage_embed", "encode_document"),
        ("embed_documents", "encode_document"),
        ("get_sentence_embedding_dimension", "dimension"),
        ("max_seq_length", "max_length"),
        ("tokenizer", "count_tokens"),
        ("similarity_pairwise", "sum(axis=1)"),
        ("aembed_query", "asyncio.to_thread"),
        ("get_embedding_size", "dimension"),
        ("list_supported_models", "embedge list --models"),
    ],
)
def test_an_unknown_attribute_names_the_right_one(pack: Path, name: str, right: str) -> None:
    with Embedder(pack) as embedder:
        with pytest.raises(AttributeError) as caught:
            getattr(embedder, name)
        assert name in str(caught.value)
        assert right in str(caught.value)
        assert not hasattr(embedder, name)
        assert name not in dir(embedder)


def test_what_the_table_names_exists(pack: Path) -> None:
    """The first word of each answer is a name that the embedder has."""
    with Embedder(pack) as embedder:
        for name, use in habits.ATTRIBUTES.items():
            assert not hasattr(embedder, name)
            if not use.startswith(("(", "nothing:", "device=", "precision=")):
                first = re.split(r"[(,; ]", use)[0]
                part = embedder
                for piece in first.split("."):
                    assert hasattr(part, piece), (name, use)
                    part = getattr(part, piece)
    for name, table in habits.KEYWORDS.items():
        parameters = inspect.signature(getattr(Embedder, name)).parameters
        assert not set(table) & set(parameters), name
        for use in table.values():
            word = use.split("=")[0]
            if word.isidentifier() and "= of " not in use:
                assert word in parameters, (name, use)


def test_python_still_suggests_a_name_that_is_nearly_right(pack: Path) -> None:
    code = f"import embedge; embedge.Embedder({str(pack)!r}).encod"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Did you mean: 'encode'?" in run.stderr


def test_copies_and_pickles_do_not_see_the_table(pack: Path) -> None:
    with Embedder(pack) as embedder:
        for again in (pickle.loads(pickle.dumps(embedder)), copy.deepcopy(embedder)):
            assert np.array_equal(again.encode("a"), embedder.encode("a"))
    blank = Embedder.__new__(Embedder)  # as unpickling makes one
    assert not hasattr(blank, "__setstate__")


def test_names_of_other_packages() -> None:
    for name, use in habits.MODULE.items():
        with pytest.raises(AttributeError, match=use.split(",")[0]):
            getattr(embedge, name)


def test_a_prompt_goes_by_any_of_its_usual_names(pack: Path) -> None:
    with Embedder(pack) as embedder:
        document = embedder.encode("a", prompt_name="document")
        assert not np.array_equal(document, embedder.encode("a", prompt_name="query"))
        for name in ("passage", "corpus"):
            assert np.array_equal(embedder.encode("a", prompt_name=name), document)
            aliased = embedder.encode("a", task="retrieval.passage", prompt_name=name)
            assert np.array_equal(aliased, embedder.encode_document("a", task="retrieval"))
        with pytest.raises(embedge.OptionError, match="'answer' is not in this pack"):
            embedder.encode("a", prompt_name="answer")
