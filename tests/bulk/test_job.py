"""Bulk embedding as a library: records in order, in bounded memory, bad ones reported."""

import threading
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.bulk.job import Job, Step, Summary
from embedge.bulk.ranges import RangesSink
from embedge.bulk.records import NO_PLACE, Bad, Record
from embedge.bulk.sinks import Sink, open_sink
from embedge.errors import CancelledError, MemoryLimitError
from embedge.vectors import normalize
from embedge.windows import IMAGES, Window, windows
from support.fakes import WIDTH, FakeEmbedder, vector


class Kept(Sink):
    """Keeps what it is given."""

    def __init__(self):
        self.rows = {}
        self.count = None
        self.abandoned = False

    def write(self, items, rows):
        self.rows |= {item.index: row for item, row in zip(items, rows, strict=True)}

    def finish(self, done):
        self.count = done.items

    def abandon(self):
        self.abandoned = True


def records_of(*texts):
    return [Record(i, f"f:{i + 1}", text, None, len(text)) for i, text in enumerate(texts)]


def size_of(record):
    return record.size


@given(st.lists(st.integers(0, 3 * 2**20), max_size=300), st.integers(1, 40), st.integers(1, 80))
def test_chunks_keep_everything_in_order_and_stay_small(sizes, first, most):
    records = [Record(i, "", "", None, size) for i, size in enumerate(sizes)]
    most = max(first, most)
    made = list(
        windows(iter(records), Window(first=first, most=most, size=8 * 2**20), size=size_of)
    )
    assert [record for chunk in made for record in chunk] == records
    for chunk in made:
        assert 0 < len(chunk) <= most
        assert sum(record.size for record in chunk[:-1]) < 8 * 2**20
    if made:
        assert len(made[0]) <= first


def test_images_are_counted_not_weighed():
    records = [Record(i, "", "", None, 2**30) for i in range(70)]
    assert [len(chunk) for chunk in windows(records, IMAGES, size=size_of)] == [32, 32, 6]


def test_what_came_of_it_is_a_record():
    fake, sink = FakeEmbedder(), Kept()
    long = " ".join("abcdefghij")
    refused = []
    job = Job(
        fake.encode,
        sink,
        truncations=lambda: fake.truncations,
        on_refused=lambda where, reason: refused.append((where, reason)),
    )
    bad = Bad(2, "f:3", "is not UTF-8", 1)
    outside = Bad(NO_PLACE, "folder", "cannot be read", 0)
    summary = job.run([*records_of("ab c", long), bad, Record(3, "f:4", "d", "x", 1), outside])
    assert summary == Summary(embedded=3, bad=2, cut=1)
    assert refused == [("f:3", "is not UTF-8"), ("folder", "cannot be read")]
    assert sink.count == 4
    assert list(sink.rows) == [0, 1, 3]
    np.testing.assert_array_equal(sink.rows[0], normalize(np.array(vector("ab c"), np.float32)))


def test_steps_go_from_nothing_to_all():
    steps: list[Step] = []
    job = Job(
        FakeEmbedder().encode,
        Kept(),
        window=Window(first=1, most=2, size=None),
        total=4,
        on_progress=steps.append,
    )
    job.run(records_of("a", "b", "c", "d"))
    assert [step.embedded for step in steps] == [1, 3, 4]
    assert [step.fraction for step in steps] == [0.25, 0.75, 1.0]


def test_a_text_that_memory_does_not_hold_is_found_by_halves():
    refused = []

    def encode(items, **callbacks):
        if "large" in items:
            raise MemoryLimitError("item needs\nmore memory")
        return FakeEmbedder().encode(items, **callbacks)

    sink = Kept()
    job = Job(encode, sink, on_refused=lambda where, reason: refused.append((where, reason)))
    assert job.run(records_of("a", "b", "large", "c")) == Summary(embedded=3, bad=1, cut=0)
    assert refused == [("f:3", "item needs more memory")]
    assert list(sink.rows) == [0, 1, 3]


@pytest.mark.parametrize("kind", ["jsonl", "npy"])
def test_a_job_that_is_cancelled_leaves_no_file(make_pack, tmp_path, kind):
    from embedge import Embedder

    stop = threading.Event()
    stop.set()
    out = tmp_path / "out"
    with Embedder(make_pack()) as embedder:
        encode = partial(embedder.encode, cancel=stop)
        sink = open_sink(out, kind, embedding_type="float32", width=embedder.dimension)
        with pytest.raises(CancelledError):
            Job(encode, sink).run(records_of("a", "b"))
    assert not list(tmp_path.glob("*out*"))


def test_an_error_of_a_callback_ends_it(tmp_path):
    sink = Kept()

    def stop(step):
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        Job(FakeEmbedder().encode, sink, on_progress=stop).run(records_of("a"))
    assert sink.abandoned


def test_ranges_come_from_all_chunks(tmp_path):
    sink = Kept()
    ranges = tmp_path / "ranges.npy"
    held = RangesSink(sink, "int8", WIDTH, str(ranges))
    job = Job(FakeEmbedder().encode, held, window=Window(first=1, most=1, size=None))
    job.run(records_of("a bb", "ccc d", "e"))
    assert held.count == 3
    low, high = np.load(ranges)
    made = [normalize(np.array(vector(text), np.float32)) for text in ("a bb", "ccc d", "e")]
    np.testing.assert_array_equal(low, np.min(made, axis=0))
    np.testing.assert_array_equal(high, np.max(made, axis=0))
    assert sink.rows[0].dtype == np.int8
