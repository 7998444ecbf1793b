"""`embedge bulk --ray` on a cluster of two nodes, of which one is lost: the parts of one process.

A node here is a raylet of its own on this machine, as `ray start` makes one. The head has no CPU,
so that all parts are made on the two others.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from ray.cluster_utils import Cluster

from embedge import Embedder
from embedge.cli import main
from embedge.cluster import run

PARTS, ROWS = 44, 150
STORE = 80 * 2**20  # bytes of a node's object store, which holds next to nothing
PATIENCE = 120  # seconds


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE},
    )
    yield made
    made.shutdown()


def set_nodes(cluster: Cluster, count: int) -> list[Any]:
    """Makes it so many nodes beside the head, each of one CPU."""
    held = [node for node in cluster.worker_nodes if node.live_processes()]
    held += [
        cluster.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(count - len(held))
    ]
    return held


@pytest.fixture(autouse=True)
def _address(cluster: Cluster, monkeypatch: Any) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)  # for "auto"


@pytest.fixture(scope="module")
def data(tmp_path_factory: Any) -> Path:
    """Texts of many lengths, with one that is null."""
    chance = random.Random(3)
    words = ["sun", "moon", "Mars", "rock", "dust", "orbit", "far", "near", "light", "of", "a"]
    texts: list[Any] = [
        " ".join(chance.choices(words, k=chance.randint(1, 60))) for _ in range(PARTS * ROWS - 50)
    ]
    texts[1234] = None
    path = tmp_path_factory.mktemp("shared") / "texts.parquet"
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), path, row_group_size=1000)
    return path


def command(data: Path, out: str, *words: str) -> list[str]:
    return [
        *(sys.executable, "-m", "embedge", "bulk", str(data), "--rows", str(ROWS)),
        *("--out", str(data.parent / out), *words),
    ]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of all that lies beside the parts, too."""
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.joinpath("parts").iterdir()
    }


@pytest.fixture(scope="module")
def expected(data: Path) -> dict[str, str]:
    """Of one process."""
    subprocess.run(command(data, "one", "--threads", "1"), check=True)
    found = hashes(data.parent / "one")
    assert len(found) == PARTS
    return found


def wait_for(folder: Path, count: int, process: Any) -> None:
    """Until so many parts are there."""
    end = time.monotonic() + PATIENCE
    while len(list(folder.glob("parts/part-*.parquet"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def kill_node(node: Any) -> None:
    """SIGKILL to a raylet and to all processes that it has started."""
    raylet = node.all_processes["raylet"][0].process.pid
    workers = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = status.read_text().splitlines()
        except OSError:
            continue
        if f"PPid:\t{raylet}" in lines:
            workers.append(int(status.parent.name))
    assert workers
    for pid in (raylet, *workers):
        os.kill(pid, signal.SIGKILL)


def start(data: Path, out: str, address: str) -> Any:
    words = command(data, out, "--ray", address, "--threads", "1")
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


def test_threads_do_not_change_a_bit(data: Path, expected: dict[str, str]) -> None:
    subprocess.run(command(data, "two", "--threads", "2"), check=True)
    subprocess.run(command(data, "three", "--threads", "3"), check=True)
    assert hashes(data.parent / "two") == hashes(data.parent / "three") == expected


def test_a_node_that_is_killed_half_way_changes_nothing(
    cluster: Cluster, data: Path, expected: dict[str, str]
) -> None:
    first, _ = set_nodes(cluster, 2)
    out = data.parent / "killed-node"
    with start(data, "killed-node", cluster.address) as process:
        wait_for(out, PARTS // 2, process)
        kill_node(first)
        said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0, said
    assert hashes(out) == expected
    assert "texts.parquet, row 1,235: is null" in said
    assert f"{PARTS * ROWS - 50:,} rows in {PARTS} parts" in said
    assert "without a vector: 1 row" in said
    assert (out / "manifest.json").read_bytes() == (data.parent / "one/manifest.json").read_bytes()
    assert sorted(path.name for path in out.iterdir()) == [
        *("done-1-of-1.jsonl", "manifest.json", "parts"),
    ]
    cluster.remove_node(first, allow_graceful=False)


def test_a_driver_that_is_killed_half_way_is_gone_on_with(
    cluster: Cluster, data: Path, expected: dict[str, str]
) -> None:
    set_nodes(cluster, 2)
    out = data.parent / "killed-driver"
    with start(data, "killed-driver", cluster.address) as process:
        wait_for(out, PARTS // 2, process)
        process.kill()
        process.communicate()
    with start(data, "killed-driver", cluster.address) as process:
        said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0, said
    done = int(said.split("done before: ")[1].split()[0])
    assert PARTS // 2 - 3 <= done < PARTS
    assert hashes(out) == expected


def test_ctrl_c_stops_the_actors_and_keeps_parts(
    cluster: Cluster, data: Path, expected: dict[str, str]
) -> None:
    set_nodes(cluster, 2)
    out = data.parent / "stopped"
    with start(data, "stopped", cluster.address) as process:
        wait_for(out, PARTS // 3, process)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130
    assert "parts; the same command goes on there" in said
    assert said.endswith("embedge: interrupted\n")
    time.sleep(2)
    held = hashes(out)
    time.sleep(2)
    assert hashes(out) == held
    assert {name: held[name] for name in expected if name in held}.items() <= expected.items()
    assert len(held) < PARTS
    # Another process than one's own cluster can go on.
    subprocess.run(command(data, "stopped", "--threads", "1"), check=True)
    assert hashes(out) == expected


# ---------------------------------------------------------------------------- refused


def refusal(cluster: Cluster, data: Path, out: str, capsys: Any, *words: str) -> str:
    """What a run in this process says at its end."""
    set_nodes(cluster, 2)
    capsys.readouterr()
    code = main(command(data, out, "--ray", "auto", "--threads", "1", *words)[3:])
    said = capsys.readouterr().err
    assert code == 2, said
    assert "Traceback" not in said
    return said.splitlines()[-1]


def test_nodes_with_other_versions_are_refused(
    cluster: Cluster, data: Path, capsys: Any, monkeypatch: Any
) -> None:
    versions = run._versions
    monkeypatch.setattr(run, "_versions", lambda *_: {**versions(*_), "embedge": "9.9"})
    said = refusal(cluster, data, "refused", capsys)
    assert "and this process has embedge 9.9; install the same versions on all nodes" in said


def test_a_folder_that_nodes_do_not_see_is_refused(
    cluster: Cluster, data: Path, capsys: Any, monkeypatch: Any
) -> None:
    seen = run.Seen
    monkeypatch.setattr(run, "Seen", lambda marker, versions: seen(f"{marker}-not", versions))
    said = refusal(cluster, data, "refused", capsys)
    assert f"does not see the folder {data.parent / 'refused'} of this process" in said


def test_a_pack_that_nodes_do_not_have_is_refused(
    cluster: Cluster, data: Path, library: Embedder, capsys: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    pack = tmp_path / "pack"
    shutil.copytree(library.folder, pack)
    # Removed once the driver has opened it.
    monkeypatch.setattr(run, "_look_at_nodes", lambda *_: shutil.rmtree(pack))
    said = refusal(cluster, data, "no-pack", capsys, "--pack", str(pack))
    assert said.startswith("embedge: error: on the Ray node ")
    assert str(pack) in said


def test_inputs_that_nodes_do_not_have_are_refused(
    cluster: Cluster, data: Path, capsys: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    texts = tmp_path / "texts.parquet"
    shutil.copy(data, texts)
    monkeypatch.setattr(run, "_look_at_nodes", lambda *_: texts.unlink())
    said = refusal(cluster, texts, "no-input", capsys)
    assert f"does not see {texts}; keep the inputs on a file system that all nodes share" in said


def test_a_row_without_a_vector_stops_the_run_if_asked(
    cluster: Cluster, data: Path, capsys: Any
) -> None:
    said = refusal(cluster, data, "raised", capsys, "--on-error", "raise")
    assert f"{data}, row 1,235: is null; leave it out, or pass --on-error null" in said


def test_more_threads_than_a_node_has_are_refused(
    cluster: Cluster, data: Path, capsys: Any
) -> None:
    said = refusal(cluster, data, "many", capsys, "--threads", "3")
    assert "--threads is 3, and no node of the Ray cluster has more than 1 CPUs" in said


def test_a_cluster_that_is_not_there_is_refused(data: Path, capsys: Any) -> None:
    for address, reason in (
        ("ray://head:10001", "Ray Client"),
        ("nowhere", "not an address"),
    ):
        assert main(command(data, "nowhere", "--ray", address)[3:]) == 2
        assert reason in capsys.readouterr().err
    assert not (data.parent / "nowhere").exists()
