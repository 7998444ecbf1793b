"""The truth for static models: rows of a table, averaged, in plain NumPy.

Sources: model2vec 0.10 `StaticModel`, Sentence Transformers 6.2 `StaticEmbedding`. A text of
unknown words alone has no row; its vector is all zeros.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedge_export.families.static.config import (
    MAPPING_KEY,
    TABLE_KEY,
    WEIGHTS_KEY,
    StaticConfig,
)
from embedge_export.head.head import Head
from embedge_export.head.truth import vectors
from embedge_export.numbers.sensitivity import TABLE, Disturbance
from embedge_export.tensors.weights import Weights
from embedge_export.truth import Array, Observer, Product, float_product


def static_vectors(
    config: StaticConfig,
    weights: Weights,
    texts: Sequence[NDArray[np.int32]],
    *,
    head: Head,
    advance: Callable[[str], None] = lambda label: None,
    observe: Observer = lambda key, rows: None,
    product: Product = float_product,
    disturb: Disturbance = lambda key, rows: rows,
) -> Array:
    """Vectors of token id sequences: float32 (texts, head.width), not normalized.

    Args:
        config: the table's sizes.
        weights: under the names of config.py.
        texts: token ids, one array (tokens,) a text, at least one token each.
        head: how a text's rows become its vector.
        advance: called with a label before each step.
        observe: never called, without a linear.
        product: likewise.
        disturb: called with the table's name and the rows taken from it, (tokens, width); what it
            returns is taken instead (sensitivity.py).
    """
    advance("reference: embedding table")
    table = weights.read(TABLE_KEY)
    ids = np.concatenate(texts).astype(np.int64)
    owner = np.repeat(np.arange(len(texts)), [len(one) for one in texts])
    places = weights.read(MAPPING_KEY).astype(np.int64)[ids] if config.mapped else ids
    rows = table[places]
    if config.weighted:
        rows = rows * weights.read(WEIGHTS_KEY)[ids][:, None]
    rows = disturb(TABLE, rows)
    known = np.ones(len(ids), bool) if config.unknown_id is None else ids != config.unknown_id
    none = np.zeros((1, config.hidden_size), np.float32)
    kept = [rows[known & (owner == text)] for text in range(len(texts))]
    kept = [own if len(own) else none for own in kept]
    bounds = np.cumsum([0, *map(len, kept)])
    return vectors(np.concatenate(kept), bounds, head)
