"""The bundled pack itself, as `Embedder()` opens it. `make default` makes it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedge import Embedder
from embedge.cli import main
from embedge.errors import PackError
from embedge.pack.files import default_folder, open_pack, verify_files

TASKS = {"retrieval", "text-matching", "clustering", "classification"}


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return default_folder()
    except PackError:
        pytest.skip("there is no default pack; `make default` makes it")


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Iterator[Embedder]:
    with Embedder() as opened:
        yield opened


@pytest.fixture
def _trained(embedder: Embedder) -> None:
    if embedder.manifest.model_id.startswith("seeded/"):
        pytest.skip("a stand-in with random weights is bundled")


def test_it_is_whole_small_and_passed_its_gate(embedder: Embedder) -> None:
    manifest = embedder.manifest
    assert embedder.folder == default_folder()
    assert set(embedder.tasks) == TASKS
    assert manifest.precisions() == ("int8",)
    assert manifest.passed_gate("int8")
    assert verify_files(open_pack(None)) == []
    assert {path.name for path in embedder.folder.iterdir()} == {"manifest.json", *manifest.files}
    assert sum(entry.size for entry in manifest.files.values()) < 25e6
    assert manifest.license is not None
    assert "nc" not in manifest.license.lower().split("-")


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_task_and_width(embedder: Embedder, task: str) -> None:
    texts = ["hello", "", "ein längerer Text mit 日本語 und 🦊"]
    vectors = embedder.encode(texts, task=task)
    assert vectors.shape == (3, embedder.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):  # the same alone, to the last bit
        np.testing.assert_array_equal(embedder.encode(text, task=task), vector)
    for width in embedder.manifest.matryoshka_dimensions:
        assert embedder.encode(texts, task=task, truncate_dim=width).shape == (3, width)


def test_it_may_be_copied(embedder: Embedder, tmp_path: Path) -> None:
    with Embedder(shutil.copytree(embedder.folder, tmp_path / "copy")) as copy:
        np.testing.assert_array_equal(copy.encode("hello"), embedder.encode("hello"))


@pytest.mark.usefixtures("_trained")
@pytest.mark.parametrize("task", sorted(TASKS))
def test_likeness_means_something(embedder: Embedder, task: str) -> None:
    sets = (
        ("A man is playing a guitar.", "Someone plays the guitar.", "The tax law was changed."),
        ("The soup was too salty.", "There was too much salt in the soup.", "It rained all day."),
        ("She bought a new car.", "She purchased a new vehicle.", "The moon orbits the earth."),
    )
    for text, alike, other in sets:
        a, b, c = embedder.encode([text, alike, other], task=task)
        assert a @ b > a @ c + 0.1


@pytest.mark.usefixtures("_trained")
def test_a_question_finds_its_answer(embedder: Embedder) -> None:
    documents = embedder.encode_document(
        [
            "Venus is often called Earth's twin because of its similar size.",
            "Photosynthesis turns sunlight, water and carbon dioxide into sugar.",
            "The capital of France is Paris.",
        ],
        task="retrieval",
    )
    for question, answer in (
        ("How do plants make their food?", 1),
        ("In which city does the French government sit?", 2),
        ("Which planet resembles ours?", 0),
    ):
        query = embedder.encode_query(question, task="retrieval")
        assert int((documents @ query).argmax()) == answer


@pytest.mark.usefixtures("folder")
def test_the_commands_take_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("EMBEDGE_PACK", raising=False)
    (tmp_path / "texts.txt").write_text("one\ntwo\n", encoding="utf-8")
    assert main(["embed", str(tmp_path / "texts.txt")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["index"] for line in lines] == [0, 1]
    assert main(["verify"]) == 0
    assert "none failed" in capsys.readouterr().out
    assert main(["bench", "--shapes", "1x16", "--seconds", "0.001"]) == 0
    assert "int8" in capsys.readouterr().out
