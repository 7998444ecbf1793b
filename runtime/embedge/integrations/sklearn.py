"""scikit-learn's transformer: texts in, a float32 matrix out, as a step of a `Pipeline`.

Written for scikit-learn 1.7 and newer.
"""

import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from embedge.embedder import Embedder
from embedge.errors import InputError
from embedge.integrations.libraries import needs
from embedge.integrations.model import Model, PackOrEmbedder

with needs("sklearn", package="scikit-learn"):
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin


class EmbedgeVectorizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turns texts into vectors, as `TfidfVectorizer` does into counts. It learns nothing.

    Clones share an `Embedder` that was passed; clones of a path each open the pack, so pass an
    `Embedder` to a grid search. Other processes (n_jobs) always open their own.

    Args:
        pack: folder of the pack; the one that embedge bundles if None. Or an `Embedder`.
        task: one of the pack's, e.g. "classification"; "retrieval.query" and "retrieval.passage"
            are the two sides of retrieval. The pack's default task if None.
        prompt_name: one of the pack's prompts; its default one if None.
        truncate_dim: keep the first so many dimensions, before normalizing.
        max_length: tokens of a text at most; longer texts are cut.
        precision: as for `Embedder`, and so are `device` and `threads`.
        device: see `precision`.
        threads: see `precision`.

    Raises:
        EmbedgeError: in `fit` and `transform`, as `Embedder` and `Embedder.encode`. A text that
            cannot be embedded is a `TextError` (a ValueError), which lists them by their index.

    >>> vectorizer = EmbedgeVectorizer(task="classification", truncate_dim=64)
    >>> vectorizer.fit_transform(["a text", "another"]).shape
    (2, 64)
    >>> vectorizer.get_feature_names_out()[:2].tolist()
    ['embedgevectorizer0', 'embedgevectorizer1']
    """

    def __init__(
        self,
        pack: PackOrEmbedder = None,
        *,
        task: str | None = None,
        prompt_name: str | None = None,
        truncate_dim: int | None = None,
        max_length: int | None = None,
        precision: str = "auto",
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.pack = pack
        self.task = task
        self.prompt_name = prompt_name
        self.truncate_dim = truncate_dim
        self.max_length = max_length
        self.precision = precision
        self.device = device
        self.threads = threads

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803 (scikit-learn's name)
        """Checks the options and the shape of `X`; there is nothing to learn."""
        _check(X)
        self._embed([])
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """Vectors of texts.

        Args:
            X: an ordered iterable of n str: a list, a Series, one column of a DataFrame.

        Returns:
            float32 (n, d), of length 1.
        """
        _check(X)
        return self._embed(X)

    @property
    def _n_features_out(self) -> int:
        return int(self._embed([]).shape[1])

    def _embed(self, texts: Any) -> NDArray[np.float32]:
        return self._embedder().encode(
            texts,
            task=self.task,
            prompt_name=self.prompt_name,
            truncate_dim=self.truncate_dim,
            max_length=self.max_length,
        )

    def _embedder(self) -> Embedder:
        named = (self.pack, self.precision, self.device, self.threads)
        known, model = getattr(self, "_opened", (None, None))
        if model is None or known != named:  # `set_params` changed it
            model = Model(
                self.pack, precision=self.precision, device=self.device, threads=self.threads
            )
            self._opened = (named, model)
        return model.embedder

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __sklearn_clone__(self) -> Any:
        """An unfitted copy, which shares an `Embedder`: by default it would be opened again."""
        if not isinstance(self.pack, Embedder):
            return super().__sklearn_clone__()
        without = copy.copy(self)
        without.pack = None
        again = BaseEstimator.__sklearn_clone__(without)
        again.pack = self.pack
        return again


def _check(texts: Any) -> None:
    """Refuses what has rows and columns, and one text; the rest is up to `Embedder.encode`."""
    if isinstance(texts, (str, bytes)) or getattr(texts, "ndim", 1) != 1:
        raise InputError(
            "X must be an ordered iterable of str, one for each sample: a list, a Series, or one "
            "column of a DataFrame"
        )
