"""What `embedge bulk --ray` does without Ray: an actor's work, its checks, and what is refused.

`tests/engines/test_bulk_ray.py` has the runs on a cluster.
"""

import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from embedge import Embedder
from embedge.cluster import connect
from embedge.cluster.nodes import Seen, check_node, look
from embedge.cluster.worker import OUTCOME, PART, TRIES, Failed, Made, PartWorker, Work
from embedge.errors import ClusterError, MissingExtraError, PackError
from embedge.parts.columns import TextColumn
from embedge.parts.inputs import find_inputs
from embedge.parts.part import Form
from embedge.parts.plan import look_at, make_plan
from parts.conftest import part_bytes

Bulk = Callable[..., tuple[int, Path]]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def work(pack: Path, data: Path, tmp_path: Path) -> Work:
    """Parts of 100 rows, written to a folder "work"."""
    column = TextColumn("text")
    sources = [look_at(item, column.name) for item in find_inputs([str(data)], out=tmp_path / "x")]
    plan = make_plan(sources, column=column, into="embedding", rows_per_part=100)
    folder = tmp_path / "work" / "parts"
    folder.mkdir(parents=True)
    embedder = Embedder(pack, threads=1)
    form = Form(plan.schema, "embedding", np.dtype(np.float32), embedder.dimension, {})
    return Work(plan, folder, form, embedder, partial(embedder.encode, task="retrieval"), False)


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    return Seen(str(tmp_path), look("", ["python", "numpy", "embedge"])["versions"])


def outcomes(work: Work | bytes, seen: Seen, *parts: int) -> list[Any]:
    """What an actor gives for these parts."""
    packed = work if isinstance(work, bytes) else pickle.dumps(work)
    actor = PartWorker(packed, str(Path.cwd()), seen)
    table = actor(pa.table({PART: list(parts)}))
    return [pickle.loads(outcome) for outcome in table[OUTCOME].to_pylist()]


def test_an_actor_makes_parts_in_any_order_and_twice(work: Work, seen: Seen, bulk: Bulk) -> None:
    first = outcomes(work, seen, 3, 0)
    assert [made.number for made in first] == [3, 0]
    bytes_of = part_bytes(work.parts.parent)
    assert sorted(bytes_of) == ["part-000000.parquet", "part-000003.parquet"]
    assert all(isinstance(made, Made) and made.entry.rows == 100 for made in first)
    assert all(made.tokens > 100 for made in first)
    again = outcomes(work, seen, 0, 3)
    assert [made.entry for made in again] == [made.entry for made in reversed(first)]
    assert part_bytes(work.parts.parent) == bytes_of


def test_a_part_whose_processes_die_again_and_again_is_given_up(work: Work, seen: Seen) -> None:
    for index in range(TRIES + 1):
        (work.parts / f".part-000001.parquet.{index:016x}.part").write_bytes(b"left")
    failed, made = outcomes(work, seen, 1, 2)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ClusterError)
    assert f"{TRIES + 1} processes of the Ray cluster died when they made part-000001" in str(
        failed.error
    )
    assert isinstance(made, Made)


def test_what_a_node_lacks_is_named(work: Work, seen: Seen, data: Path, tmp_path: Path) -> None:
    def error(work: Work, seen: Seen) -> Exception:
        (failed,) = outcomes(work, seen, 0)
        assert isinstance(failed, Failed)
        return failed.error

    other = replace(seen, versions={**seen.versions, "numpy": "0.1"})
    assert "and this process has numpy 0.1; install the same" in str(error(work, other))
    absent = replace(seen, versions={"no-library": "1"})
    assert "has no no-library, and this process has no-library 1" in str(error(work, absent))
    hidden = replace(seen, marker=str(tmp_path / "not-there"))
    assert f"does not see the folder {tmp_path} of this process" in str(error(work, hidden))
    packed = pickle.dumps(work)
    data.write_bytes(data.read_bytes() + b"x")
    (failed,) = outcomes(packed, seen, 0)
    assert f"has another file under the name {data}" in str(failed.error)
    data.unlink()
    assert f"does not see {data}" in str(error(work, seen))
    assert not list(work.parts.iterdir())


def test_a_pack_that_is_another_one_there_is_refused(
    work: Work, seen: Seen, make_pack: Callable[..., Path]
) -> None:
    packed = pickle.dumps(work)
    make_pack(prompts={"query": "Other: ", "document": "D: "})  # at the place of the first
    (failed,) = outcomes(packed, seen, 0)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, PackError)
    assert str(failed.error).startswith("on the Ray node ")
    assert "is another pack" in str(failed.error)


def test_nodes_that_are_alike_are_taken(seen: Seen) -> None:
    check_node(look(seen.marker, list(seen.versions)), seen)


def test_what_makes_no_sense_with_ray_is_refused(
    bulk: Bulk, data: Path, capsys: Captured, tmp_path: Path
) -> None:
    assert bulk(data, "--ray", "auto", "--shard", "1/2")[0] == 2
    assert "--shard and --ray both share the work out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'`pip install "embedge\[ray\]"`'):
        connect.connected("auto").__enter__()


@pytest.mark.parametrize("address", ["nowhere", "host:port", "host:99999", ":1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ClusterError, match="is not an address; give"):
        connect._check_answers(None, address)


def test_ray_client_is_refused() -> None:
    with pytest.raises(ClusterError, match="over which Ray Data does not run; give the command"):
        connect._check_answers(None, "ray://head:10001")


def test_an_address_that_does_not_answer_is_refused_at_once() -> None:
    ray = SimpleNamespace(util=SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1"))
    for address in ("127.0.0.1:1", "localhost:1"):
        with pytest.raises(ClusterError, match=rf"the Ray cluster {address} cannot be used: "):
            connect._check_answers(ray, address)
