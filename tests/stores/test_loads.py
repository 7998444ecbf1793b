"""`embedge bulk --to` into the stores themselves, in the modes that need no server."""

import datetime
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import apsw
import lancedb
import numpy as np
import pyarrow as pa
import pytest
import sqlite_vec
from pyarrow import parquet as pq
from qdrant_client import QdrantClient, models

from embedge import Embedder
from embedge.cli import main

KEY = "The spare key is under the third flower pot."
QUERY = "Where is the spare key?"
ROWS = 300
BAD = {3, 77, 299}
STORES = pytest.mark.parametrize("store", ["lance", "qdrant", "sqlite-vec"])


class Lance:
    """The rows of a table, and its nearest, by LanceDB."""

    def __init__(self, place: str) -> None:
        self.database = lancedb.connect(place)

    def rows(self, table: str, key: str = "row_number") -> dict[Any, tuple[dict[str, Any], Any]]:
        found = self.database.open_table(table).to_arrow().to_pylist()
        return {row.pop(key): (row, row.pop("embedding")) for row in found}

    def nearest(self, table: str, query: Any) -> str:
        search = self.database.open_table(table).search(query, vector_column_name="embedding")
        metric = "hamming" if query.dtype == np.uint8 else "cosine"
        return str(search.distance_type(metric).limit(1).to_list()[0]["text"])


class Qdrant:
    """The same by Qdrant's client."""

    def __init__(self, place: str) -> None:
        self.place = place

    def rows(self, table: str, key: str = "row_number") -> dict[Any, tuple[dict[str, Any], Any]]:
        client = QdrantClient(path=self.place)
        found, _ = client.scroll(table, limit=10_000, with_vectors=True)
        client.close()
        return {point.id: (point.payload, point.vector) for point in found}

    def nearest(self, table: str, query: Any) -> str:
        client = QdrantClient(path=self.place)
        (point,) = client.query_points(table, query=query.tolist(), limit=1).points
        client.close()
        return str(point.payload["text"])


class SqliteVec:
    """The same in SQL."""

    def __init__(self, place: str) -> None:
        self.database = apsw.Connection(place)
        self.database.enable_load_extension(True)
        sqlite_vec.load(self.database)

    def rows(self, table: str, key: str = "row_number") -> dict[Any, tuple[dict[str, Any], Any]]:
        query = (
            f"SELECT {table}.*, embedding AS _vector FROM {table} "
            f"JOIN {table}_vectors ON {table}.rowid = {table}_vectors.rowid"
        )
        cursor = self.database.execute(query)
        found = {}
        for values in cursor:
            names = [column[0] for column in cursor.description]
            row = dict(zip(names, values, strict=True))
            vector = row.pop("_vector")
            found[row[key]] = (row, np.frombuffer(vector, np.float32))
            if key == "row_number":
                del row[key]
        vectors = self.database.execute(f"SELECT count(*) FROM {table}_vectors").fetchall()
        assert vectors == [(len(found),)]
        return found

    def nearest(self, table: str, query: Any) -> str:
        shape = {np.float32: "?", np.int8: "vec_int8(?)", np.uint8: "vec_bit(?)"}[query.dtype.type]
        ((text,),) = self.database.execute(
            f"SELECT text FROM {table}_vectors JOIN {table} "
            f"ON {table}.rowid = {table}_vectors.rowid "
            f"WHERE embedding MATCH {shape} AND k = 1",
            (query.tobytes(),),
        )
        return str(text)


READERS: dict[str, Any] = {"lance": Lance, "qdrant": Qdrant, "sqlite-vec": SqliteVec}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    texts = [None if row in BAD else f"note {row} about {row % 7} things" for row in range(ROWS)]
    texts[150] = KEY
    columns = {
        "name": [f"n-{row}" for row in range(ROWS)],
        "text": texts,
        "year": [2000 + row % 20 for row in range(ROWS)],
        "tags": [["a", "b"] if row % 2 else None for row in range(ROWS)],
        "at": [datetime.datetime(2026, 11, 28)] * ROWS,
    }
    path = tmp_path / "notes.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture
def bulk(tmp_path: Path) -> Callable[..., int]:
    """`bulk(INPUT, "--to", …)` on the bundled pack, 40 rows a part."""

    def run(*words: Any, out: str = "out") -> int:
        common = ["--out", tmp_path / out, "--rows", 40, "--task", "retrieval"]
        common += ["--prompt-name", "document"]
        return main(["bulk", *map(str, words), *map(str, common)])

    return run


@STORES
def test_rows_stand_under_their_numbers(store, bulk, data, tmp_path, embedder, capsys):
    place = str(tmp_path / "store")
    assert bulk(data, "--to", f"{store}:{place}", "--table", "notes") == 0
    said = capsys.readouterr().err
    assert "loaded 297 rows in" in said
    assert "not loaded, without a vector: 3 rows" in said
    reader = READERS[store](place)
    rows = reader.rows("notes")
    assert sorted(rows) == [row for row in range(ROWS) if row not in BAD]
    table = pq.read_table(data)
    whole = pa.concat_tables(map(pq.read_table, sorted((tmp_path / "out/parts").iterdir())))
    for row in (0, 40, 151, 298):
        record, vector = rows[row]
        kept = table.slice(row, 1).to_pylist()[0]
        if store != "lance":
            kept["at"] = "2026-11-28T00:00:00"
        if store == "sqlite-vec" and kept["tags"]:
            kept["tags"] = json.dumps(kept["tags"])
        assert record == kept
        expected = np.array(whole["embedding"][row].as_py(), np.float32)
        np.testing.assert_allclose(np.array(vector, np.float32), expected, atol=1e-6)
    assert reader.nearest("notes", embedder.encode_query(QUERY)) == KEY


@STORES
@pytest.mark.parametrize("column", [None, "name", "number"])
def test_a_second_load_doubles_nothing(store, bulk, data, tmp_path, column):
    place = str(tmp_path / "store")
    table = pq.read_table(data)
    table = table.append_column("number", pa.array(range(1000, 1000 + ROWS), pa.int32()))
    pq.write_table(table, data)
    command = [data, "--to", f"{store}:{place}", *(["--id-column", column] if column else [])]
    assert bulk(*command) == 0
    before = READERS[store](place).rows("embeddings", column or "row_number")
    (tmp_path / "out/loaded.jsonl").write_text(
        "".join(
            f"{line}\n"  # what a process leaves that is killed before its first line of a part
            for line in (tmp_path / "out/loaded.jsonl").read_text().splitlines()
            if '"part": null' in line
        )
    )
    assert bulk(*command) == 0
    after = READERS[store](place).rows("embeddings", column or "row_number")
    assert len(after) == len(before) == ROWS - len(BAD)
    assert {key: record for key, (record, _) in after.items()} == {
        key: record for key, (record, _) in before.items()
    }


@STORES
def test_ids_of_strings_are_replaced_by_newer_rows(store, bulk, data, tmp_path, embedder):
    place = str(tmp_path / "store")
    command = [data, "--to", f"{store}:{place}", "--id-column", "name"]
    assert bulk(*command) == 0
    table = pa.table({name: pq.read_table(data)[name].slice(290, 9) for name in ("name", "text")})
    names = [*table["name"].to_pylist()[:-1], "new"]
    rest = {"year": [1] * 9, "tags": pa.array([None] * 9, pa.list_(pa.string()))}
    texts = ["The moon is far away."] * 9
    at = pa.array([datetime.datetime(2027, 1, 1)] * 9, pa.timestamp("us"))
    pq.write_table(pa.table({"name": names, "text": texts, **rest, "at": at}), data)
    assert bulk(*command, out="newer") == 0
    reader = READERS[store](place)
    rows = reader.rows("embeddings", "name")
    assert len(rows) == ROWS - len(BAD) + 1
    key = str(uuid.uuid5(uuid.NAMESPACE_OID, "n-291")) if store == "qdrant" else "n-291"
    assert rows[key][0]["year"] == 1
    if store == "qdrant":
        assert rows[key][0]["name"] == "n-291"
    assert reader.nearest("embeddings", embedder.encode_query("the moon")) == texts[0]


@STORES
def test_a_table_of_another_width_is_refused_before_any_work(store, bulk, data, tmp_path, capsys):
    place = str(tmp_path / "store")
    command = [data, "--to", f"{store}:{place}", "--id-column", "name"]
    assert bulk(*command, "--truncate-dim", 128) == 0
    before = READERS[store](place).rows("embeddings", "name")
    capsys.readouterr()
    assert bulk(*command, out="other") == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert "128" in error
    assert "256" in error
    assert error.endswith("name another --table")
    assert not (tmp_path / "other").exists()
    after = READERS[store](place).rows("embeddings", "name")
    assert after.keys() == before.keys()


@pytest.mark.parametrize("store", ["lance", "sqlite-vec"])
def test_a_table_of_other_columns_is_refused(store, bulk, data, tmp_path, capsys):
    command = [data, "--to", f"{store}:{tmp_path / 'store'}", "--id-column", "name"]
    assert bulk(*command) == 0
    assert bulk(*command, "--keep", "name,text", out="other") == 2
    assert "has other columns" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("store", "kind"),
    [("lance", "ubinary"), ("qdrant", "uint8"), ("sqlite-vec", "int8"), ("sqlite-vec", "ubinary")],
)
def test_smaller_types_are_searched(store, kind, bulk, data, tmp_path, embedder):
    ranges = np.full((2, embedder.dimension), [[-0.5], [0.5]], np.float32)
    np.save(tmp_path / "ranges.npy", ranges)
    given = {} if kind == "ubinary" else {"ranges": ranges}
    options = ["--ranges", tmp_path / "ranges.npy"] if given else []
    place = str(tmp_path / "store")
    command = [data, "--to", f"{store}:{place}", "--embedding-type", kind, *options]
    assert bulk(*command) == 0
    query = embedder.encode_query(KEY, embedding_type=kind, **given)
    assert READERS[store](place).nearest("embeddings", query) == KEY


def test_a_collection_that_was_made_before_is_used_as_it_is(bulk, data, tmp_path, capsys):
    place = str(tmp_path / "store")
    client = QdrantClient(path=place)
    size = models.VectorParams(size=256, distance=models.Distance.DOT)
    client.create_collection("named", vectors_config={"embedding": size, "title": size})
    client.create_collection("others", vectors_config={"title": size})
    client.close()
    assert bulk(data, "--to", f"qdrant:{place}", "--table", "named") == 0
    rows = Qdrant(place).rows("named")
    assert rows[0][1].keys() == {"embedding"}
    assert bulk(data, "--to", f"qdrant:{place}", "--table", "others") == 2
    assert 'has no vectors named "embedding", but title' in capsys.readouterr().err


def test_places_that_cannot_be(bulk, data, tmp_path, capsys):
    def refusal(to: str) -> str:
        assert bulk(data, "--to", to) == 2
        assert not (tmp_path / "out").exists()
        (error,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
        return error

    assert "a server is http://localhost:6333" in refusal("qdrant:localhost:6333")
    assert "Connection refused" in refusal("qdrant:http://127.0.0.1:9")
    assert "make that folder first" in refusal(f"sqlite-vec:{tmp_path}/a/b.db")
    (tmp_path / "text.db").write_text("no database " * 100)
    assert "not a database" in refusal(f"sqlite-vec:{tmp_path}/text.db")
    assert "text.db" in refusal(f"lance:{tmp_path}/text.db")
    assert "text.db" in refusal(f"qdrant:{tmp_path}/text.db")
    negative = pa.table({"number": [-1], "text": ["a"]})
    pq.write_table(negative, data)
    assert bulk(data, "--to", f"qdrant:{tmp_path}/q", "--id-column", "number") == 2
    assert "-1 is no id for Qdrant" in capsys.readouterr().err


@STORES
def test_a_load_that_is_killed_is_completed(store, bulk, data, tmp_path):
    place = str(tmp_path / "store")
    command = [sys.executable, "-W", "ignore", "-m", "embedge", "bulk", str(data), "-q"]
    command += ["--rows", "40", "--task", "retrieval", "--prompt-name", "document"]
    command += ["--out", str(tmp_path / "out"), "--to", f"{store}:{place}"]
    loaded = tmp_path / "out/loaded.jsonl"
    killed = 0
    for _ in range(3):
        before = loaded.read_text().count("part-") if loaded.exists() else 0
        with subprocess.Popen(command) as process:
            while process.poll() is None:
                if loaded.exists() and loaded.read_text().count("part-") > before:
                    process.kill()
                time.sleep(0.001)
        killed += process.returncode == -9
    assert killed
    subprocess.run(command, check=True)
    rows = READERS[store](place).rows("embeddings")
    assert sorted(rows) == [row for row in range(ROWS) if row not in BAD]


# ---------------------------------------------------------------------------- a server's address


class Server(ThreadingHTTPServer):
    """Answers as Qdrant's REST interface does, and keeps what it was sent. It is no Qdrant."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.vectors: Any = None
        self.points: dict[Any, Any] = {}
        self.asked: list[str] = []
        self.keys: set[str | None] = set()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.endswith("/exists"):
            self.answer({"exists": self.server.vectors is not None})
        else:
            self.answer(
                {
                    "status": "green",
                    "optimizer_status": "ok",
                    "segments_count": 1,
                    "payload_schema": {},
                    "config": {
                        "params": {"vectors": self.server.vectors},
                        "hnsw_config": {"m": 1, "ef_construct": 4, "full_scan_threshold": 10},
                        "optimizer_config": {
                            "deleted_threshold": 0.2,
                            "vacuum_min_vector_number": 1000,
                            "default_segment_number": 0,
                            "flush_interval_sec": 5,
                        },
                    },
                }
            )

    def do_PUT(self) -> None:
        sent = self.body()
        if "/points" not in self.path:
            self.server.vectors = sent["vectors"]
            self.answer(True)
            return
        if "batch" in sent:
            batch = sent["batch"]
            pairs = zip(batch["ids"], batch["vectors"], batch["payloads"], strict=True)
            self.server.points |= {one: (vector, load) for one, vector, load in pairs}
        else:
            self.server.points |= {
                point["id"]: (point["vector"], point["payload"]) for point in sent["points"]
            }
        self.answer({"operation_id": 0, "status": "completed"})

    def do_POST(self) -> None:
        assert self.path.endswith("/points/count")
        assert self.body()["exact"] is True
        self.answer({"count": len(self.server.points)})

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, result: Any) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.keys.add(self.headers.get("api-key"))
        text = json.dumps({"result": result, "status": "ok", "time": 0.0}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def address() -> Iterator[Server]:
    with Server() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_server_is_sent_all_points_and_waited_for(address, bulk, data, monkeypatch):
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    url = f"http://127.0.0.1:{address.server_port}"
    assert bulk(data, "--to", f"qdrant:{url}", "--table", "notes") == 0
    assert sorted(address.points) == [row for row in range(ROWS) if row not in BAD]
    assert address.vectors == {"size": 256, "distance": "Cosine"}
    with Embedder() as embedder:
        expected = embedder.encode([KEY], task="retrieval", prompt_name="document")[0]
    vector, payload = address.points[150]
    assert np.array(vector, np.float32).tobytes() == expected.tobytes()
    assert payload["text"] == KEY
    upserts = [path for path in address.asked if "/points?" in path]
    assert upserts
    assert all("wait=true" in path for path in upserts)
    assert address.keys == {"secret"}
    # Known to be loaded: nothing is sent again.
    address.asked.clear()
    assert bulk(data, "--to", f"qdrant:{url}", "--table", "notes") == 0
    assert not [path for path in address.asked if path.startswith("PUT")]
