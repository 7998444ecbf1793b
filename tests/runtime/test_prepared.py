"""Prepared graphs: the same vectors from mapped files, written whole or not at all."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from embedge import Embedder
from embedge.engine import loading, prepared, prepared_folder
from embedge.engine.prepared import prepared_graph
from embedge.errors import OptionError
from embedge.files import checked as checked_files

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells its CPU's kind")
fcntl = pytest.importorskip("fcntl", reason="prepared graphs are for Linux")
TEXTS = ["ab", "a much longer text than the other"]


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_vectors_are_the_same_and_the_second_load_writes_nothing(pack, tmp_path):
    folder = tmp_path / "new" / "prepared"
    with Embedder(pack) as embedder:
        expected = embedder.encode(TEXTS)
    for _ in range(2):
        with Embedder(pack, prepared=folder) as embedder:
            np.testing.assert_array_equal(embedder.encode(TEXTS), expected)
        [name] = entries(folder)
        times = {path.name: path.stat().st_mtime_ns for path in (folder / name).iterdir()}
    with Embedder(pack, prepared=str(folder)) as embedder:
        embedder.encode(TEXTS)
    assert times == {path.name: path.stat().st_mtime_ns for path in (folder / name).iterdir()}


def test_each_task_has_its_own(pack, tmp_path):
    with Embedder(pack, prepared=tmp_path / "prepared") as embedder:
        vectors = [embedder.encode(TEXTS, task=task, normalize=False) for task in embedder.tasks]
    assert vectors[0][0][2] != vectors[1][0][2]  # the number of the task
    assert len(entries(tmp_path / "prepared")) == 2


def test_another_graph_runtime_or_cpu_is_prepared_anew(pack, tmp_path, monkeypatch):
    graph = pack / "retrieval.fp32.onnx"
    first = prepared_graph(graph, "one", tmp_path, threads=1)
    assert prepared_graph(graph, "one", tmp_path, threads=1) == first
    assert prepared_graph(graph, "two", tmp_path, threads=1) != first
    monkeypatch.setattr(prepared, "_machine", lambda: ["another"])
    assert prepared_graph(graph, "one", tmp_path, threads=1) != first


def test_an_interrupted_preparation_leaves_nothing(pack, tmp_path, monkeypatch):
    def fail(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepared_folder, "_flush", fail)
    with pytest.raises(OptionError, match=r"No space left.*name another folder"):
        prepared_graph(pack / "retrieval.fp32.onnx", "one", tmp_path / "p", threads=1)
    assert entries(tmp_path / "p") == []


def test_whoever_comes_second_takes_the_first_one_s(pack, tmp_path, monkeypatch):
    """Another process finished while this one was preparing."""
    graph, folder = pack / "retrieval.fp32.onnx", tmp_path / "p"
    place = prepared_graph(graph, "one", folder, threads=1).parent
    hidden = place.rename(folder / "hidden")
    prepare = prepared._prepare

    def slow(*arguments, **options):
        prepare(*arguments, **options)
        hidden.rename(place)

    monkeypatch.setattr(prepared, "_prepare", slow)
    assert prepared_graph(graph, "one", folder, threads=1) == place / prepared.GRAPH
    assert entries(folder) == [place.name]


def test_a_folder_that_cannot_be_is_told(pack, tmp_path):
    (tmp_path / "file").write_text("")
    with (
        Embedder(pack, prepared=tmp_path / "file" / "folder") as embedder,
        pytest.raises(OptionError, match=r"prepared= is .*nothing can be kept there"),
    ):
        embedder.encode(TEXTS)


def test_a_system_that_does_not_tell_its_cpu_is_refused(pack, tmp_path, monkeypatch):
    def missing(*arguments, **options):
        raise FileNotFoundError

    monkeypatch.setattr(prepared.Path, "read_text", missing)
    with pytest.raises(OptionError, match="only Linux reports"):
        prepared_graph(pack / "retrieval.fp32.onnx", "one", tmp_path, threads=1)


def test_the_machine_is_its_runtime_and_cpu():
    facts = prepared._machine()
    assert loading.load_runtime().__version__ in facts
    assert any(fact.startswith(("flags", "Features")) for fact in facts)
    assert os.uname().machine in facts


def only(folder):
    [name] = entries(folder)
    return folder / name


def rebuilt(graph, folder, before):
    """Prepares again; gives whether the files were written again, and are right."""
    path = prepared_graph(graph, "one", folder, threads=1)
    assert sorted(item.name for item in path.parent.iterdir()) == sorted(before)
    assert all((path.parent / name).read_bytes() == data for name, data in before.items())
    assert prepared_graph(graph, "one", folder, threads=1) == path
    assert len(entries(folder)) == 1  # nothing else stays behind
    return prepared_folder.find(folder, path.parent.name, prepared.GRAPH) == path.parent


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "a byte of the graph": lambda place: flip(place / prepared.GRAPH),
    "a byte of the data": lambda place: flip(place / prepared.DATA),
    "cut": lambda place: os.truncate(place / prepared.DATA, 10),
    "empty": lambda place: os.truncate(place / prepared.GRAPH, 0),
    "a file is gone": lambda place: (place / prepared.DATA).unlink(),
    "the graph is gone": lambda place: (place / prepared.GRAPH).unlink(),
    "no record, as of former versions": lambda place: (place / prepared_folder.RECORD).unlink(),
    "a record that is none": lambda place: (place / prepared_folder.RECORD).write_text("[[1]]"),
    "a record without files": lambda place: (place / prepared_folder.RECORD).write_text(
        json.dumps({"key": place.name, "files": {}})
    ),
    "a record of files elsewhere": lambda place: (place / prepared_folder.RECORD).write_text(
        json.dumps({"key": place.name, "files": {prepared.GRAPH: [1, ""], "../x": [1, ""]}})
    ),
    "a pipe": lambda place: ((place / prepared.DATA).unlink(), os.mkfifo(place / prepared.DATA)),
    "a link": lambda place: (
        (place / prepared.DATA).rename(place.parent.parent / "elsewhere"),
        (place / prepared.DATA).symlink_to(place.parent.parent / "elsewhere"),
    ),
    "a file that others may write": lambda place: (place / prepared.DATA).chmod(0o666),
    "a folder that others may write": lambda place: place.chmod(0o777),
}


@pytest.fixture
def heavy(tmp_path):
    """A graph whose weights are large enough to stand in a file of their own when prepared."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = np.ones((8, 512), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "heavy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 512])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    save(model, tmp_path / "heavy.onnx")
    return tmp_path / "heavy.onnx"


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_or_foreign_is_made_again(heavy, tmp_path, damage):
    folder = tmp_path / "p"
    place = prepared_graph(heavy, "one", folder, threads=1).parent
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    assert set(before) == {prepared.GRAPH, prepared.DATA, prepared_folder.RECORD}
    DAMAGES[damage](place)
    assert prepared_folder.find(folder, place.name, prepared.GRAPH) is None
    assert rebuilt(heavy, folder, before)


def test_another_graph_under_the_name_is_made_again(heavy, tmp_path):
    folder = tmp_path / "p"
    place = prepared_graph(heavy, "one", folder, threads=1).parent
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    other = prepared_graph(heavy, "two", folder, threads=1).parent
    shutil.rmtree(place)
    other.rename(place)
    assert rebuilt(heavy, folder, before)


def test_files_are_hashed_once(heavy, tmp_path, monkeypatch):
    monkeypatch.setattr(checked_files, "SETTLED_AFTER", -(10**9))
    prepared_graph(heavy, "one", tmp_path / "p", threads=1)
    prepared_graph(heavy, "one", tmp_path / "p", threads=1)
    monkeypatch.setattr(hashlib, "file_digest", None)
    prepared_graph(heavy, "one", tmp_path / "p", threads=1)


def test_a_damage_while_another_process_repairs_it(heavy, tmp_path, monkeypatch):
    folder = tmp_path / "p"
    place = prepared_graph(heavy, "one", folder, threads=1).parent
    flip(place / prepared.DATA)
    prepare = prepared._prepare

    def slow(*arguments, **options):
        prepare(*arguments, **options)
        monkeypatch.setattr(prepared, "_prepare", prepare)
        prepared_graph(heavy, "one", folder, threads=1)  # the other one

    monkeypatch.setattr(prepared, "_prepare", slow)
    assert prepared_graph(heavy, "one", folder, threads=1).parent == place
    assert entries(folder) == [place.name]


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_folder_that_others_may_write_is_refused(pack, tmp_path, mode):
    folder = tmp_path / "p"
    folder.mkdir()
    folder.chmod(mode)
    with (
        Embedder(pack, prepared=folder) as embedder,
        pytest.raises(OptionError, match=r"prepared= is .*other users may write.*chmod go-w"),
    ):
        embedder.encode(TEXTS)
    with Embedder(pack, prepared=folder / "inside") as embedder:
        embedder.encode(TEXTS)


def test_a_folder_of_another_user_is_refused(pack, tmp_path, give_away):
    folder = tmp_path / "p"
    folder.mkdir()
    give_away(folder)
    with pytest.raises(OptionError, match="belongs to another user"):
        prepared_graph(pack / "retrieval.fp32.onnx", "one", folder, threads=1)


def test_a_wide_umask_makes_no_folder_that_is_refused(heavy, tmp_path):
    before = os.umask(0)
    try:
        first = prepared_graph(heavy, "one", tmp_path / "p", threads=1)
        times = [path.stat().st_mtime_ns for path in sorted(first.parent.iterdir())]
        prepared_graph(heavy, "one", tmp_path / "p", threads=1)
    finally:
        os.umask(before)
    assert times == [path.stat().st_mtime_ns for path in sorted(first.parent.iterdir())]


def leftover(folder, name, *files, age):
    path = folder / name
    path.mkdir(parents=True)
    for file in files:
        (path / file).write_bytes(b"x")
    for item in (*path.iterdir(), path):
        os.utime(item, (time.time() - age,) * 2)
    return path


def test_what_killed_writers_left_is_swept(heavy, tmp_path):
    folder = tmp_path / "p"
    day = 86400
    gone = [
        leftover(folder, "embedge-abcd1234.part", "graph.onnx", "in-use", age=day),
        leftover(folder, "tmpabcd_123.part", "graph.onnx", "graph.data", age=day),
        leftover(folder, "tmpabcd_124.part", age=day),
    ]
    kept = [
        leftover(folder, "embedge-abcd1235.part", "graph.onnx", age=60),  # young
        leftover(folder, "embedge-abcd1236.part", "graph.onnx", "in-use", age=day),  # in use
        leftover(folder, "somebody-else.part", "graph.onnx", age=day),
        leftover(folder, "tmpabcd1234", "graph.onnx", age=day),
    ]
    with (kept[1] / "in-use").open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        prepared_graph(heavy, "one", folder, threads=1)
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []


def test_a_writer_that_was_killed(heavy, tmp_path):
    """Its folder stays, is known as not in use, and goes once it is old."""
    code = (
        "import os, sys, pathlib\n"
        "from embedge.engine import prepared_folder\n"
        "prepared_folder.make(pathlib.Path(sys.argv[1]), 'key', 'x', lambda part: os._exit(9))"
    )
    folder = tmp_path / "p"
    assert subprocess.run([sys.executable, "-c", code, folder], check=False).returncode == 9
    part = only(folder)
    assert not prepared_folder._in_use(part / "in-use")
    for item in (*part.iterdir(), part):
        os.utime(item, (0, 0))
    place = prepared_graph(heavy, "one", folder, threads=1).parent
    assert entries(folder) == [place.name]
