"""Spark, where there is Java: frames of pandas, and an iterator pandas UDF.

Not `mapInArrow`: Spark 4.3 refuses lists of fixed size.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from embedge.bulk import EmbedBatches

if shutil.which("java") is None:
    pytest.skip("Java is not installed: Spark runs on it", allow_module_level=True)

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import pandas_udf


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "17")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture
def frame(spark: SparkSession, columns: Any) -> DataFrame:
    rows = list(zip(columns["id"], columns["text"], strict=True))
    return spark.createDataFrame(rows, "id long, text string").repartition(4)


def vectors_of(frame: DataFrame) -> np.ndarray:
    taken = sorted(frame.collect(), key=lambda row: row["id"])
    return np.array([row["embedding"] for row in taken], np.float32)


def test_map_in_pandas(frame: DataFrame, rows: np.ndarray) -> None:
    embed = EmbedBatches()
    schema = "id long, text string, embedding array<float>"
    result = frame.mapInPandas(lambda batches: map(embed, batches), schema)
    np.testing.assert_array_equal(vectors_of(result), rows)


def test_an_iterator_pandas_udf(frame: DataFrame, rows: np.ndarray) -> None:
    embed = EmbedBatches()

    @pandas_udf("array<float>")
    def embedding(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        for texts in batches:
            yield embed(texts.to_frame("text"))["embedding"]

    result = frame.withColumn("embedding", embedding("text"))
    np.testing.assert_array_equal(vectors_of(result), rows)


def test_bad_rows_stop_nothing(spark: SparkSession, with_bad: Any, rows: np.ndarray) -> None:
    pairs = list(zip(with_bad["id"], with_bad["text"], strict=True))
    frame = spark.createDataFrame(pairs, "id long, text string").repartition(4)
    embed = EmbedBatches(on_error="null")
    schema = "id long, text string, embedding array<float>, embedding_error string"
    taken = frame.mapInPandas(lambda batches: map(embed, batches), schema).collect()
    by_id = {row["id"]: row for row in taken}
    assert len(by_id) == len(rows)
    assert by_id[5]["embedding"] is None
    assert by_id[5]["embedding_error"] == "is None, not str"
    np.testing.assert_array_equal(np.array(by_id[6]["embedding"], np.float32), rows[6])


def test_a_worker_takes_as_many_threads_as_spark_counts_for_a_task(spark: SparkSession) -> None:
    def threads(_: Any) -> int:
        return EmbedBatches().embedder.threads

    context = spark.sparkContext
    assert context.parallelize([0], 1).map(threads).collect() == [1]
