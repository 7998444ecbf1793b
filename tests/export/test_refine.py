"""What is kept finer, in which order, and how the truth is asked what a text hangs on."""

import dataclasses
import weakref
from functools import partial
from typing import Any

import numpy as np
import pytest

from embedge_export.gate.compare import TaskReport
from embedge_export.gate.probe import Probe
from embedge_export.gate.refine import refine
from embedge_export.numbers import sensitivity
from embedge_export.numbers.exact import product as exact_product
from embedge_export.numbers.sensitivity import (
    TABLE,
    between,
    fewest,
    layer_of,
    moved_by_bfloat16,
    of_layers,
    sensitivities,
)
from embedge_export.precision import PRECISIONS
from embedge_export.precision.int8 import Int8
from embedge_export.truth import float_product

LINEARS = [f"layers.{layer}.{name}" for layer in range(4) for name in ("query", "down")]
LOSSES = dict.fromkeys(LINEARS, 1e-4) | {"layers.3.down": 0.5}


def report(*cosines):
    return TaskReport(
        cosine_min=min(cosines),
        cosine_mean=float(np.mean(cosines)),
        cosines=cosines,
        difference_max=0.01,
        rank_correlation=1.0,
        batch_difference=0.0,
        finite=True,
    )


class FakeProbe:
    """Text 0 hangs on layer 1 and the table, every other text on all layers alike."""

    def __init__(self, ties=None):
        self._ties, self.asked = ties or {}, []

    def ties(self, room):
        assert room == pytest.approx(0.002)
        return self._ties

    def moved(self, text):
        self.asked.append(text)
        layers = [TABLE, *(f"layers.{index}" for index in range(4))]
        if text == 0:
            return dict.fromkeys(layers, 1e-4) | {"layers.1": 0.1, TABLE: 0.01}
        return dict.fromkeys(layers, 1e-3)


def refined(reports, probe=None, precision=None):
    """The last report, and the precisions that were written."""
    written: list[Any] = []
    made = iter(reports)
    found = refine(
        precision or PRECISIONS["int8"],
        LOSSES,
        judge=lambda: next(made),
        write=written.append,
        size=lambda: 1000 + sum(len(one.finer) for one in written),
        probe=probe,
    )
    return found, written


def test_what_passes_with_a_margin_is_left_alone():
    found, written = refined([report(0.999, 0.9986)], FakeProbe())
    assert written == []
    assert found.finer == ()


def test_the_layers_that_the_worst_text_hangs_on_come_first_and_what_loses_much():
    probe = FakeProbe()
    found, (written,) = refined([report(0.99, 0.9999), report(0.9991, 0.9999)], probe)
    assert probe.asked == [0]
    assert written.finer == {TABLE, "layers.1.query", "layers.1.down", "layers.3.down"}
    assert found.finer == (TABLE, "layers.1.query", "layers.1.down", "layers.3.down")
    assert found.before == (0.99,)
    assert found.finer_bytes == 4


def test_a_margin_is_worth_the_first_tries_alone():
    """Between the bar and the bar with its margin nothing dear is done."""
    found, written = refined([report(0.9982)] * 3, FakeProbe())
    assert len(written) == 2
    assert written[0].finer < written[1].finer
    assert found.failures(Int8()) == []


def test_the_last_resorts_are_everything_in_two_digits_and_then_in_float32():
    found, written = refined([report(0.9, 0.9)] * 5 + [report(0.9999, 0.9999)], FakeProbe())
    everything = {TABLE, *LINEARS}
    assert [precision.finer for precision in written[2:]] == [everything] * 3
    assert written[2].floats == frozenset()
    assert written[4].floats == set(LINEARS)
    assert found.floats == tuple(LINEARS)
    assert found.failures(Int8()) == []


def test_without_a_truth_to_ask_the_linears_that_lose_most_come_first():
    _, written = refined([report(0.9)] * 2 + [report(0.9999)])
    assert [len(precision.finer) for precision in written] == [4, 8]
    assert "layers.3.down" in written[0].finer


def test_a_tie_is_not_left_to_luck_and_judged_by_what_bfloat16_does_to_it():
    probe = FakeProbe(ties={0: 0.994})
    lucky, written = refined([report(0.9999, 0.9999), report(0.9995, 0.9999)], probe)
    assert len(written) == 1
    assert lucky.bfloat16 == {0: 0.994}
    # Half as far as in bfloat16 is allowed to the tie, and to no other text.
    tie, _ = refined([report(0.9971, 0.9999)] * 3, FakeProbe(ties={0: 0.994}))
    assert tie.failures(Int8()) == []
    other = dataclasses.replace(tie, cosines=(0.9999, 0.9971))
    assert "cosine 0.997100 < 0.998" in other.failures(Int8())[0]
    too_far = dataclasses.replace(tie, cosines=(0.9969, 0.9999))
    assert too_far.low(Int8()) == [0.9969]


def test_what_cannot_be_finer_is_judged_as_it_is():
    found, written = refined([report(0.5)], precision=PRECISIONS["fp16"])
    assert written == []
    assert found.cosine_min == 0.5


def test_the_fewest_layers():
    moved = {"a": 0.5, "b": 0.3, "c": 0.01, "d": 0.001}
    assert fewest(moved, 1) == []
    assert fewest(moved, 0.35) == ["a"]
    assert fewest(moved, 0.01) == ["a", "b", "c"]
    order = [TABLE, "layers.0", "layers.1", "layers.2", "layers.3"]
    assert between(["layers.3", "layers.1"], order) == order[2:]
    assert between([TABLE, "layers.2"], order) == [TABLE, "layers.2"]
    assert between([TABLE], order) == [TABLE]
    assert layer_of("layers.3.mlp.gate_proj.weight") == layer_of("layers.3.down") == "layers.3"
    assert of_layers({"layers.1", TABLE}, LINEARS) == [TABLE, "layers.1.query", "layers.1.down"]


def test_noise_in_the_layer_that_a_text_hangs_on_moves_it_most():
    """A truth of three layers that add rows of unlike size to the vector."""
    sizes = {TABLE: 1.0, "layers.0": 0.1, "layers.1": 3.0, "layers.2": 0.01}

    def run(texts, disturb):
        generator = np.random.default_rng(0)
        total: Any = 0
        for layer, size in sizes.items():
            row = (size * generator.standard_normal((1, 64))).astype(np.float32)
            rows = np.repeat(row, sum(map(len, texts)), axis=0)
            key = layer if layer == TABLE else f"{layer}.mlp.weight"
            total = total + disturb(key, rows)
        return total[:: len(texts[0])]

    moved = sensitivities(run, np.arange(2, dtype=np.int32), list(sizes))
    assert sorted(moved, key=lambda name: moved[name], reverse=True) == [
        "layers.1",
        TABLE,
        "layers.0",
        "layers.2",
    ]
    assert moved == sensitivities(run, np.arange(2, dtype=np.int32), list(sizes))


def test_the_truth_knows_a_tie(tiny_source):
    """A seeded network has none; and the measure works on weights that are in bfloat16 already."""
    from embedge_export.model import open_model, reference
    from embedge_export.source.folder import open_source

    model = open_model(open_source(tiny_source, tasks=["retrieval"]))
    gate = reference(model)
    probe = Probe(model, "retrieval", gate)
    assert probe.ties(0.002) == {}
    ties = probe.ties(0.0)  # with no room at all, whatever is lost is too much
    assert set(ties) == {text for text, ids in enumerate(gate.ids) if len(ids) <= 64}
    assert 0.999 < min(ties.values()) < max(ties.values()) < 1
    moved = probe.moved(0)
    assert list(moved) == [TABLE, *(f"layers.{i}" for i in range(model.config.num_hidden_layers))]
    assert all(value > 0 for value in moved.values())


def test_a_tie_is_measured_alone_as_among_the_others(tiny_source):
    """In arithmetic that has the same bits on every CPU; the first look is in float32."""
    from embedge_export.model import open_model, reference, text_vectors
    from embedge_export.source.folder import open_source

    model = open_model(open_source(tiny_source, tasks=["retrieval"]))
    texts = reference(model).ids[:5]
    weights = model.weights("retrieval")

    def run(product, texts, disturb):
        return text_vectors(model, weights, texts, product=product, disturb=disturb)

    exact = partial(run, exact_product)
    moved = moved_by_bfloat16(exact, texts)
    assert moved_by_bfloat16(exact, texts, among=[3, 1]) == [moved[3], moved[1]]
    clean = exact(texts, lambda key, rows: rows)
    assert moved_by_bfloat16(exact, texts, clean=clean) == moved
    rough = moved_by_bfloat16(partial(run, float_product), texts, clean=clean)
    np.testing.assert_allclose(rough, moved, rtol=0.01)


def test_signs_are_those_of_the_generator_whatever_is_drawn_at_a_time():
    signs, generator = sensitivity._Signs(), np.random.default_rng(0)
    for shape in ((3, 5), (1, 1), (2, 2), (7, 1), (1, 6)):
        drawn = np.where(signs.draw(shape) == 0, 1, -1)
        np.testing.assert_array_equal(drawn, generator.choice([-1, 1], shape))


def test_sample_rows_are_gone_while_a_graph_is_compared(tiny_source, tmp_path):
    """A gigabyte of a full-size model; a graph that is written again asks for them again."""
    from embedge_export.model import open_model
    from embedge_export.source.folder import open_source
    from embedge_export.write import text_network, write, write_refined

    model = open_model(open_source(tiny_source, tasks=["retrieval"]))
    network = text_network(model, "retrieval")
    held: list[Any] = []

    def calibrate(advance):
        samples = network.calibrate(advance)
        held.extend(map(weakref.ref, samples.values()))
        return samples

    alive, answers = [], iter([report(0.9), report(0.9999)])

    def judge(path):
        alive.append(sum(rows() is not None for rows in held))
        return next(answers)

    watched = dataclasses.replace(network, calibrate=calibrate)
    folders = [tmp_path / name for name in ("again", "once")]
    for folder in folders:
        folder.mkdir()
    int8 = PRECISIONS["int8"]
    ((_, found),) = write_refined(watched, [int8], folders[0], judge=judge)
    assert alive[0] == 0
    assert len(held) == 2 * 4 * model.config.num_hidden_layers
    assert len(found.finer) == 4
    finer = int8.keeping(found.finer)
    write(network, [finer], folders[1], samples=network.calibrate(lambda label: None))
    again, once = ({f.name: f.read_bytes() for f in folder.iterdir()} for folder in folders)
    assert again == once
