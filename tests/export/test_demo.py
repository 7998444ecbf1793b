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

from demo import drawing, grid, measured, questions, texts
from demo.screen import Screen, open_screen
from embedge import Embedder, SearchIndex
from support.clean_process import make_place, run_clean

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def _extras() -> None:
    for module in ("sklearn", "matplotlib"):
        pytest.importorskip(module, reason=f"{module} is not installed; `make demo` installs it")


def a_direction_for_each_topic(noise: float) -> np.ndarray:
    """What a perfect model would give for the sentences of the map, and some noise: (64, 8)."""
    rows = np.repeat(np.eye(8, dtype=np.float32), 8, axis=0)
    rows += np.random.default_rng(0).normal(0, noise, rows.shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_sentences_of_the_map():
    sentences, topics = texts.topic_sentences()
    assert (len(texts.TOPICS), len(sentences), len(set(sentences))) == (8, 64, 64)
    assert {topics.count(topic) for topic in texts.TOPICS} == {8}
    assert len({topic[0] for topic in texts.TOPICS}) == 8  # the letters on the map


def test_each_question_is_answered_by_a_text_of_the_collection():
    asked = questions.read_questions()
    assert len(asked) == len({question.text for question in asked}) == 12
    for question in asked:
        assert (questions.COLLECTION / question.file).is_file(), question
    collection = [path for path in questions.COLLECTION.rglob("*") if path.is_file()]
    assert len(collection) == 74
    assert len({path.parent for path in collection}) == 9
    assert sum(path.stat().st_size for path in collection) < 100_000


def test_ten_of_twelve_questions_find_their_text_first(capsys):
    with Embedder() as embedder:
        hits = questions.show_answers(Screen(80, False, "utf-8"), embedder)
    out = capsys.readouterr().out
    assert hits >= 10
    assert f"{hits} of 12 have the right text at the first place" in " ".join(out.split())
    assert out.count("✗ the right text is at place") == 12 - hits
    # What matched, and the passage.
    assert "(words: white, crust, kettle)\n      Hard water leaves a white crust" in out


def test_a_miss_names_the_right_text_and_its_place(pack, tmp_path):
    for name, words in {"a": "tea and milk", "b": "tea", "c": "gone"}.items():
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / f"{name}.md").write_text(f"# Title\n\n{words}\n")
    with Embedder(pack) as embedder, SearchIndex(None, embedder) as index:
        index.update(tmp_path / "texts")
        found = [
            questions.answer(
                index, questions.Question("tea and milk", f"{name}.md"), tmp_path / "texts"
            )
            for name in "abc"
        ]
    assert sorted(answer.place for answer in found) == [1, 2, 3]
    assert found[0].place == 1
    assert {answer.first.path.name for answer in found} == {"a.md"}
    assert [answer.right.path.name for answer in found] == ["a.md", "b.md", "c.md"]
    assert questions.plain(found[0].first.text) == "tea and milk"


def test_the_figures_are_those_of_the_page():
    rows = measured.read_table(measured.PAGE.read_text(encoding="utf-8"))
    assert [row.adapter for row in rows] == [*measured.WORK, "no adapter"]
    table = np.array([row.scores for row in rows])  # (5, 4)
    assert table.argmax(axis=0).tolist() == [0, 1, 2, 3]  # each adapter is the best at its work
    with pytest.raises(ValueError, match="no table that starts with"):
        measured.read_table("# Another page\n")


def test_the_marks_of_the_figures(capsys):
    page = "| adapter | a | b | c | d |\n|---|---:|---:|---:|---:|\n"
    page += "| one | **9.0** | 1.0 | 1.0 | 5.0 |\n| two | 2.0 | **8.0** | 7.0 | 5.0 |\n\nText.\n"
    measured.show_measured(Screen(80, False, "ascii"), measured.read_table(page))
    out = capsys.readouterr().out
    assert re.findall(r"([\d.]+)\*", out) == ["9.0", "5.0", "8.0", "7.0", "5.0"]
    assert "make measure-mini" in " ".join(out.split())


def test_paragraphs_are_broken_to_the_width(capsys):
    Screen(40, False, "ascii").paragraph("word " * 20, indent="  ")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("  word") and len(line) <= 40 for line in lines)


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
    _, topics = texts.topic_sentences()
    points = drawing.project(a_direction_for_each_topic(noise=0.05))
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
    flat = " ".join(out.split())
    assert "MISS the right text is at place" in flat
    assert "this pack holds another one" in flat
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
