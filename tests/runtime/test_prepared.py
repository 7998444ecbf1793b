"""Prepared graphs: the same vectors from mapped files, written whole or not at all."""

import os
import sys

import numpy as np
import pytest

from embedge import Embedder, engine, prepared
from embedge.errors import OptionError
from embedge.prepared import prepared_graph

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells its CPU's kind")
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

    monkeypatch.setattr(prepared, "_flush", fail)
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
    with pytest.raises(OptionError, match="only Linux tells"):
        prepared_graph(pack / "retrieval.fp32.onnx", "one", tmp_path, threads=1)


def test_the_machine_is_its_runtime_and_cpu():
    facts = prepared._machine()
    assert engine.load_runtime().__version__ in facts
    assert any(fact.startswith(("flags", "Features")) for fact in facts)
    assert os.uname().machine in facts
