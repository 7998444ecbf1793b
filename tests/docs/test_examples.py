"""The programs in examples/ run on the bundled pack, and do what they say."""

import asyncio
import importlib.util
import queue
import threading
import time
from contextlib import closing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from embedge import Embedder, TextError
from support.doc_pages import ROOT

EXAMPLES = ROOT / "examples"
PATIENCE = 60  # seconds


pytestmark = pytest.mark.usefixtures("bundled")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f'load("{path.stem}")' in here


def test_desktop(capsys: pytest.CaptureFixture[str]) -> None:
    example = load("worker_thread")
    example.main()
    shown = capsys.readouterr().out
    assert "Progress(done=200, total=200)" in shown
    assert "vectors (200, 256)" in shown


def test_desktop_can_be_cancelled_and_goes_on() -> None:
    example = load("worker_thread")
    worker = example.BackgroundEmbedder()
    worker.submit([f"{number} " * 60 for number in range(2000)])
    assert isinstance(worker.events.get(timeout=PATIENCE), example.Progress)  # it has begun
    worker.cancel()
    assert last(worker.events) == example.Failed("cancelled")
    worker.submit(["one more"])
    assert last(worker.events).vectors.shape == (1, 256)
    worker.close()


def test_desktop_says_that_a_pack_is_missing(tmp_path: Path) -> None:
    worker = load("worker_thread").BackgroundEmbedder(str(tmp_path / "nothing"))
    assert "nothing" in worker.events.get(timeout=PATIENCE).message


def last(events: "queue.SimpleQueue[object]") -> object:
    """The event that ends a job."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        event = events.get(timeout=PATIENCE)
        if type(event).__name__ != "Progress":
            return event
    raise AssertionError("no end")


def test_batch_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_job = load("batch_job")
    monkeypatch.setattr(batch_job, "CHUNK", 2)
    texts, out = tmp_path / "texts.txt", tmp_path / "vectors.npy"
    texts.write_bytes(b"one\ntwo\nthree\n\xff\xfe\nfive\n")
    assert batch_job.embed_file(texts, out) == 1
    vectors = np.load(out)
    assert np.isnan(vectors).all(axis=1).tolist() == [False, False, False, True, False]
    with Embedder() as embedder:
        assert (vectors[[0, 4]] == embedder.encode_document(["one", "five"])).all()
    assert out.with_suffix(".bad.tsv").read_text(encoding="utf-8").startswith("4\t")


def test_records(capsys: pytest.CaptureFixture[str]) -> None:
    load("records").main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 added"
    assert lines[1].split()[1] == "T-2"
    assert lines[-1] == "1 removed; open: ['T-1']"


def test_own_index(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own_index = load("own_index")
    own_index.main()
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("The spare key is under the third flower pot.")
    assert second.endswith("Backups run at two in the morning and take an hour.")
    path = str(tmp_path / "notes.sqlite")
    with Embedder() as embedder:
        with closing(own_index.Notes(path, embedder)) as notes:
            notes.add(["a note"])
        with closing(own_index.Notes(path, embedder)) as notes:
            assert notes.search("a note")[0][1] == "a note"
        monkeypatch.setattr(type(embedder.manifest), "fingerprint", lambda *_: "another")
        with pytest.raises(ValueError, match="another model"):
            own_index.Notes(path, embedder)


def test_async_app(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(load("async_app").main())
    vectors, cancelled, late = capsys.readouterr().out.splitlines()
    assert vectors == "vectors (200, 256)"
    assert cancelled == "cancelled: True"
    # A loop that waited for the network would look twice or so; and a cancelled job lasts minutes.
    assert int(late.split(", ")[1].split()[0]) > 20


def test_async_progress_and_errors_come_to_the_loop() -> None:
    example = load("async_app")

    async def work() -> None:
        seen: list[tuple[int, int]] = []
        threads = set()

        def progress(done: int, total: int) -> None:
            seen.append((done, total))
            threads.add(threading.current_thread())

        async with example.AsyncEmbedder(background=True) as embedder:
            with pytest.raises(TextError):
                await embedder.encode(["a", None])
            vectors = await embedder.encode(["a", "b"], progress=progress, task="retrieval")
            assert vectors.shape == (2, 256)
            await asyncio.sleep(0)
        assert seen[-1] == (2, 2)
        assert threads == {threading.main_thread()}

    asyncio.run(work())
