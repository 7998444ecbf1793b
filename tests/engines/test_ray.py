"""Ray Data: `map_batches` with a pool of actors, each with an Embedder, on this machine."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import ray

from embedge.bulk import EmbedBatches


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # More than the actors take: Ray's own tasks wait for a CPU too.
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.mark.parametrize("batch_format", ["numpy", "pandas", "pyarrow"])
def test_map_batches_in_actors(columns: Any, rows: np.ndarray, batch_format: str) -> None:
    dataset = ray.data.from_arrow(pa.table(columns)).repartition(5)
    result = dataset.map_batches(
        EmbedBatches,
        fn_constructor_kwargs={"task": "retrieval.passage"},
        batch_format=batch_format,
        batch_size=17,
        compute=ray.data.ActorPoolStrategy(size=2),
        num_cpus=1,
    )
    taken = result.to_pandas().sort_values("id", ignore_index=True)
    assert taken.columns.tolist() == ["id", "text", "embedding"]
    assert taken["id"].tolist() == columns["id"]
    assert taken["text"].tolist() == columns["text"]
    np.testing.assert_array_equal(np.stack(taken["embedding"].tolist()).astype(np.float32), rows)


# Not "pandas": Ray makes tensors of arrays, and pickled objects of arrays with None among them.
@pytest.mark.parametrize("batch_format", ["numpy", "pyarrow"])
def test_bad_rows_stop_nothing(with_bad: Any, rows: np.ndarray, batch_format: str) -> None:
    dataset = ray.data.from_arrow(pa.table(with_bad)).repartition(5)
    result = dataset.map_batches(
        EmbedBatches,
        fn_constructor_kwargs={"on_error": "null"},
        batch_format=batch_format,
        batch_size=17,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    taken = result.to_pandas().sort_values("id", ignore_index=True)
    reasons = [None if pd.isna(reason) else reason for reason in taken["embedding_error"]]
    assert [index for index, reason in enumerate(reasons) if reason] == [5]
    assert reasons[5] == "is None, not str"
    good = np.stack(taken["embedding"].drop(5).tolist()).astype(np.float32)
    np.testing.assert_array_equal(good, np.delete(rows, 5, 0))


def test_an_instance_is_a_function_too(columns: Any, rows: np.ndarray) -> None:
    dataset = ray.data.from_arrow(pa.table(columns)).repartition(5)
    result = dataset.map_batches(EmbedBatches(), batch_format="pyarrow")
    taken = result.to_pandas().sort_values("id", ignore_index=True)
    np.testing.assert_array_equal(np.stack(taken["embedding"].tolist()), rows)


@pytest.mark.parametrize("cpus", [1, 2])
def test_an_actor_takes_as_many_threads_as_ray_counts_for_it(cpus: int) -> None:
    @ray.remote(num_cpus=cpus)
    class Actor:
        def threads(self) -> int:
            return EmbedBatches().embedder.threads

    assert ray.get(Actor.remote().threads.remote()) == cpus
