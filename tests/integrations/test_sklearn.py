"""scikit-learn: a step of a pipeline, cloned, pickled, searched over, and its own checks."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.utils import estimator_checks as checks
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from embedge import Embedder, InputError, OptionError, TextError
from embedge.integrations.sklearn import EmbedgeVectorizer
from integrations.texts import TEXTS

ANIMALS = ["the cat sleeps", "a dog barks", "horses run", "the bird sings", "fish swim", "a cow"]
CARS = ["the engine roars", "a flat tire", "fuel is dear", "new brakes", "a red car", "the gearbox"]
DEFAULT = "text-matching"  # the bundled pack's default task
X, Y = [*ANIMALS, *CARS], [0] * 6 + [1] * 6


def test_vectors(library: Embedder) -> None:
    vectorizer = EmbedgeVectorizer()
    assert np.array_equal(vectorizer.fit_transform(TEXTS), library.encode(TEXTS, task=DEFAULT))
    assert np.array_equal(vectorizer.transform(TEXTS), library.encode(TEXTS, task=DEFAULT))
    assert vectorizer.transform(TEXTS).dtype == np.float32
    assert vectorizer.transform([]).shape == (0, 256)


def test_the_two_sides_of_retrieval(library: Embedder) -> None:
    query = EmbedgeVectorizer(task="retrieval.query").transform(TEXTS)
    document = EmbedgeVectorizer(task="retrieval.passage").transform(TEXTS)
    assert np.array_equal(query, library.encode_query(TEXTS))
    assert np.array_equal(document, library.encode_document(TEXTS))
    named = EmbedgeVectorizer(task="retrieval", prompt_name="query").transform(TEXTS)
    assert np.array_equal(named, query)


@pytest.mark.parametrize(
    "texts",
    [tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, object), pd.Series(TEXTS, [7, 5, 3, 1])],
)
def test_kinds_of_x(texts: object, library: Embedder) -> None:
    assert np.array_equal(EmbedgeVectorizer().transform(texts), library.encode(TEXTS, task=DEFAULT))


def test_a_generator_is_read_once(library: Embedder) -> None:
    rows = EmbedgeVectorizer().fit_transform(text for text in TEXTS)
    assert np.array_equal(rows, library.encode(TEXTS, task=DEFAULT))


def test_bad_x() -> None:
    vectorizer = EmbedgeVectorizer()
    frame = pd.DataFrame({"a": TEXTS})
    for wrong in ("one text", frame, np.array([TEXTS])):
        with pytest.raises(InputError, match="X must be an ordered iterable of str"):
            vectorizer.transform(wrong)
        with pytest.raises(ValueError, match="X must be"):
            vectorizer.fit(wrong)
    for wrong in ({"b", "a"}, {"a": "b"}, None, 3):
        with pytest.raises(InputError, match="not a str or a list of str"):
            vectorizer.transform(wrong)
    with pytest.raises(TextError, match="item 1: is float, not str"):
        vectorizer.transform(pd.Series(["a", np.nan], index=[5, 6]))
    with pytest.raises(OptionError, match="'nonsense'"):
        EmbedgeVectorizer(task="nonsense").fit(TEXTS)


def test_a_pipeline_learns() -> None:
    pipeline = make_pipeline(EmbedgeVectorizer(task="classification"), LogisticRegression())
    assert pipeline.fit(X, Y).score(X, Y) == 1.0
    assert list(pipeline.predict(["the horse neighs", "the car stops"])) == [0, 1]
    again = pickle.loads(pickle.dumps(pipeline))
    assert np.array_equal(again.predict_proba(X), pipeline.predict_proba(X))


def test_a_grid_search_over_tasks_and_widths(library: Embedder) -> None:
    pipeline = make_pipeline(EmbedgeVectorizer(library), LogisticRegression())
    grid = {
        "embedgevectorizer__task": ["classification", "clustering"],
        "embedgevectorizer__truncate_dim": [32, 256],
    }
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, Y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_[0].pack is library
    assert search.best_score_ > 0.8


def test_processes_open_their_own() -> None:
    pipeline = make_pipeline(EmbedgeVectorizer(threads=1), LogisticRegression())
    scores = cross_val_score(pipeline, X, Y, cv=2, n_jobs=2)
    assert scores.min() > 0.5


def test_clones_share_an_embedder_and_keep_what_was_set(library: Embedder) -> None:
    vectorizer = EmbedgeVectorizer(library, task="clustering").set_output(transform="pandas")
    again = clone(vectorizer)
    assert again is not vectorizer
    assert again.pack is library
    assert again.get_params() == vectorizer.get_params()
    assert isinstance(again.transform(TEXTS), pd.DataFrame)
    assert vectorizer.pack is library
    plain = clone(EmbedgeVectorizer(truncate_dim=32))
    assert plain.get_params()["truncate_dim"] == 32


def test_parameters_that_are_set_later_count(library: Embedder) -> None:
    vectorizer = EmbedgeVectorizer(truncate_dim=32).fit(TEXTS)
    vectorizer.set_params(truncate_dim=64, threads=1, task="clustering")
    expected = library.encode(TEXTS, task="clustering", truncate_dim=64)
    assert np.array_equal(vectorizer.transform(TEXTS), expected)
    assert len(vectorizer.get_feature_names_out()) == 64


def test_names_columns_and_unions() -> None:
    frame = pd.DataFrame({"title": X, "n": range(len(X))})
    columns = ColumnTransformer([("text", EmbedgeVectorizer(truncate_dim=32), "title")])
    assert columns.fit_transform(frame).shape == (12, 32)
    assert columns.get_feature_names_out()[0] == "text__embedgevectorizer0"
    union = FeatureUnion(
        [(task, EmbedgeVectorizer(task=task)) for task in ("clustering", "retrieval")]
    )
    assert union.fit_transform(TEXTS).shape == (4, 512)


def test_its_own_checks() -> None:
    """Those of `check_estimator` that feed no numbers: this one takes texts."""
    vectorizer, name = EmbedgeVectorizer(), "EmbedgeVectorizer"
    for check in (
        checks.check_estimator_cloneable,
        checks.check_no_attributes_set_in_init,
        checks.check_parameters_default_constructible,
        checks.check_get_params_invariance,
        checks.check_set_params,
        checks.check_estimator_repr,
        checks.check_estimator_tags_renamed,
        checks.check_valid_tag_types,
        checks.check_do_not_raise_errors_in_init_or_set_params,
        checks.check_mixin_order,
    ):
        check(name, vectorizer)
    tags = get_tags(vectorizer)
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert not tags.requires_fit
    check_is_fitted(vectorizer)
