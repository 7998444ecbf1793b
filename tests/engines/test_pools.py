"""Pools of processes: joblib, and those of Python; an Embedder and EmbedBatches as arguments."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from embedge import Embedder
from embedge.bulk import EmbedBatches
from engines.conftest import TEXTS

PARTS = [slice(start, start + 10) for start in range(0, len(TEXTS), 10)]


def opened(embedder: Embedder, texts: list[str]) -> tuple[int, np.ndarray]:
    return id(embedder), embedder.encode_document(texts)


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_joblib(library: Embedder, rows: np.ndarray, backend: str) -> None:
    with joblib.parallel_config(backend=backend, n_jobs=2):
        done = joblib.Parallel()(joblib.delayed(opened)(library, TEXTS[part]) for part in PARTS)
    np.testing.assert_array_equal(np.concatenate([found for _, found in done]), rows)
    if backend == "loky":  # two workers, ten pieces of work
        assert len({number for number, _ in done}) <= 2


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_executors_map_it_over_frames(columns: Any, rows: np.ndarray, method: str) -> None:
    frame = pd.DataFrame(columns)
    embed = EmbedBatches(threads=1)
    if method == "fork":
        embed(frame.head(1))  # opened by the parent
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as executor:
        parts = list(executor.map(embed, [frame.iloc[part] for part in PARTS], timeout=120))
    np.testing.assert_array_equal(np.stack(pd.concat(parts)["embedding"]), rows)
