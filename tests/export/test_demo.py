"""models/demo: what it counts, where it points, and that any terminal will do."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo import adapters, drawing, grid, questions, texts
from demo.screen import Screen, open_screen
from support.clean_process import make_place, run_clean

ROOT = Path(__file__).resolve().parents[2]
TOPICS = list(texts.TOPICS)


@pytest.fixture
def _extras() -> None:
    for module in ("sklearn", "matplotlib"):
        pytest.importorskip(module, reason=f"{module} is not installed; `make demo` installs it")


class Oracle:
    """Embeds as a perfect model would: a direction for each topic, answer, grade and label."""

    def __init__(self, wrong: float = 0.0) -> None:
        self.wrong = wrong
        self.random = np.random.default_rng(0)
        self.axes: dict[str, list[tuple[str, float]]] = {}
        for topic, sentences in texts.TOPICS.items():
            self.axes |= {text: [(topic, 1.0)] for text in sentences}
        for index, (question, answer) in enumerate(texts.QUESTIONS):
            self.axes |= {question: [(f"q{index}", 1.0)], answer: [(f"q{index}", 1.0)]}
        for index, (grade, left, right) in enumerate(texts.PAIRS):
            cosine = grade / 5
            other = (f"o{index}", float(np.sqrt(1 - cosine**2)))
            self.axes |= {left: [(f"p{index}", 1.0)], right: [(f"p{index}", cosine), other]}
        for label, reviews in enumerate(texts.REVIEWS):
            self.axes |= {text: [(f"label{label}", 1.0)] for text in reviews}
        names = sorted({name for parts in self.axes.values() for name, _ in parts})
        self.places = {name: index for index, name in enumerate(names)}

    def encode(self, items, *, task, prompt_name=None):
        rows = np.zeros((len(items), len(self.places)), np.float32)
        for row, item in zip(rows, items, strict=True):
            for name, value in self.axes[item]:
                row[self.places[name]] = value
        rows += self.random.normal(0, self.wrong, rows.shape).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_sets_are_what_is_said_of_them():
    sentences, topics = adapters.topic_sentences()
    assert (len(texts.TOPICS), len(sentences), len(set(sentences))) == (8, 64, 64)
    assert {topics.count(topic) for topic in texts.TOPICS} == {8}
    assert len({topic[0] for topic in texts.TOPICS}) == 8  # the letters on the map
    assert len(texts.QUESTIONS) == 12
    assert len(texts.PAIRS) == 16
    good, bad = texts.REVIEWS
    assert len(good) == len(bad)
    assert 2 * texts.LEARNT == 16
    assert 2 * (len(good) - texts.LEARNT) == 24
    assert len({*good, *bad}) == 40


@pytest.mark.usefixtures("_extras")
def test_a_perfect_model_scores_all_and_noise_next_to_nothing():
    assert adapters.scores(Oracle(), "any") == pytest.approx([1, 1, 1, 1])
    search, pairs, groups, labels = adapters.scores(Oracle(wrong=50.0), "any")
    assert search < 0.3
    assert abs(pairs) < 0.7
    assert groups < 0.6
    assert 0.1 < labels < 0.9


@pytest.mark.usefixtures("_extras")
def test_vectors_that_are_all_the_same_find_nothing():
    class Constant(Oracle):
        def encode(self, items, **options):
            return np.ones((len(items), 4), np.float32) / 2

    assert adapters.search_score(Constant(), "any") == pytest.approx(1 / 76)


def test_passages_stand_where_they_say():
    passages = questions.read_passages(ROOT)
    assert len(passages) > 50
    for passage in passages:
        lines = (ROOT / passage.file).read_text(encoding="utf-8").splitlines()
        (first, *_) = passage.text.split()
        assert first in lines[passage.line - 1], passage
    found = {passage.file for passage in passages}
    for _, files in questions.QUESTIONS:
        assert found >= set(files)  # else no model could answer


def test_markdown_loses_code_and_figures_only():
    text = "# Head\n\nWords here.\n\n```sh\ncode\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    text += "## Next\n\n**Bold** `words` | *and* more.\n"
    assert questions.markdown_passages(text) == [
        (1, "Head\nWords here."),
        (13, "Next\nBold words *and* more."),
    ]


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=64),
    st.integers(8, 60),
)
def test_the_grid_shows_every_point(points, columns):
    letters = [chr(ord("A") + i % 26) for i in range(len(points))]
    lines = grid.draw(np.array(points), letters, columns=columns, rows=10)
    assert [len(line) for line in lines] == [columns] * 10
    assert sorted("".join(lines).replace(" ", "")) == sorted(letters)


def test_the_grid_is_the_right_way_up():
    points = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    assert grid.draw(points, "abc", columns=3, rows=2) == ["  b", "a c"]
    with pytest.raises(ValueError, match="do not hold"):
        grid.draw(points, "abc", columns=1, rows=2)


@pytest.mark.usefixtures("_extras")
def test_the_picture(tmp_path):
    sentences, topics = adapters.topic_sentences()
    points = drawing.project(Oracle(wrong=0.05).encode(sentences, task="any"))
    assert points.shape == (64, 2)
    path = tmp_path / "new" / "map.png"
    for _ in range(2):
        drawing.draw(path, points, topics, title="Title", subtitle="Below", note="Note")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000
    # Without likeness, and with all points in one place, it is drawn all the same.
    drawing.draw(path, np.zeros((64, 2)), topics, title="", subtitle="", note="")


def test_the_core_of_a_group_is_where_most_of_it_is():
    points = np.array([[0, 0], [0, 1], [1, 0], [9, 9.0]])
    assert drawing.core(points, 1.5).tolist() == [[0, 0], [0, 1], [1, 0]]


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_color_is_for_terminals_that_want_it():
    terminal = Terminal(io.BytesIO(), encoding="utf-8")
    assert open_screen(terminal, {}).color
    assert not open_screen(terminal, {"NO_COLOR": "1"}).color
    assert open_screen(terminal, {"NO_COLOR": ""}).color
    assert not open_screen(terminal, {"TERM": "dumb"}).color
    assert not open_screen(io.StringIO(), {}).color


def test_plain_screens_get_plain_text():
    plain, fine = Screen(40, False, "ascii"), Screen(40, True, "utf-8")
    assert plain.bold("x") == plain.tint("x", "#ff0000") == "x"
    assert fine.tint("x", "#ff0000") == "\x1b[1;38;5;196mx\x1b[0m"
    assert (plain.sign("✓", "+"), fine.sign("✓", "+")) == ("+", "✓")


def test_the_marks_of_the_table(capsys):
    table = np.array([[9.0, 1, 1, 5], [2, 8, 1, 1], [1, 1, 7, 1], [1, 1, 1, 4]])
    adapters.show_table(Screen(80, False, "ascii"), list(adapters.WORK), table)
    out = capsys.readouterr().out
    assert re.findall(r"([\d.]+)\*", out) == ["9.0", "8.0", "7.0", "4.0"]
    assert "3 of 4 are the best" in out
    assert "retrieval, text-matching, clustering." in " ".join(out.split())


@pytest.mark.usefixtures("_extras")
def test_the_demo_leaves_the_map_and_nothing_else(tiny_pack, tmp_path):
    place = make_place(tmp_path)
    done = run_clean(place, [ROOT / "models" / "demo", tiny_pack, "--map", "map.png"])
    assert (done.returncode, done.stderr) == (0, "")
    assert place.left() == {"current/map.png"}


@pytest.mark.usefixtures("_extras", "package")
def test_the_whole_demo_in_a_poor_terminal(tiny_pack, tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "30"}
    done = subprocess.run(
        [sys.executable, "models/demo", str(tiny_pack), "--map", str(tmp_path / "map.png")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode("ascii")
    assert "\x1b" not in out
    assert "the weights of this model are" in " ".join(out.split())
    assert "MISS the answer stands in" in out
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_pack_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "models/demo", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("demo: ")
    assert done.stderr.count("\n") == 1
