"""A pack that is removed, or replaced by another, while an embedder has it open."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedge import Embedder, PackError, PackFileError
from embedge.errors import ManifestError
from support.tiny import TASKS, write_pack

TEXTS = ["a", "bc def", "a third text"]
# Windows lets nobody delete or replace a file that is in use: there is nothing to see.
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps files in use")


def replace(pack: Path, by: Path) -> None:
    """Puts another pack in its place, as an update does: written beside, then renamed."""
    for path in sorted(by.iterdir(), key=lambda path: path.name == "manifest.json"):
        part = pack / f"{path.name}.part"
        shutil.copy(path, part)
        part.replace(pack / path.name)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The same model with other weights."""
    return write_pack(tmp_path / "newer", constants=(9, 8, 7, 6, 5))


def test_what_is_open_stays_as_it_was_and_the_next_one_is_the_new(pack: Path, newer: Path) -> None:
    with Embedder(newer) as fresh:
        expected = fresh.encode(TEXTS)
    with Embedder(pack) as embedder:
        before = {task: embedder.encode(TEXTS, task=task) for task in TASKS}
        replace(pack, newer)
        for task, vectors in before.items():
            np.testing.assert_array_equal(embedder.encode(TEXTS, task=task), vectors)
        with Embedder(pack) as second:
            np.testing.assert_array_equal(second.encode(TEXTS), expected)
            assert not np.array_equal(expected, before[second.manifest.default_task])
        default = before[embedder.manifest.default_task]
        np.testing.assert_array_equal(embedder.encode(TEXTS), default)


def test_a_task_that_was_not_loaded_before_an_update_is_refused_and_never_mixed(
    pack: Path, newer: Path
) -> None:
    with Embedder(pack) as embedder:
        first, other = TASKS[0], TASKS[1]
        vectors = embedder.encode(TEXTS, task=first)
        replace(pack, newer)
        with pytest.raises(PackFileError, match=r"manifest|size|sha256"):
            embedder.encode(TEXTS, task=other)
        np.testing.assert_array_equal(embedder.encode(TEXTS, task=first), vectors)


@pytest.mark.parametrize("remove", [shutil.rmtree, lambda path: path.rename(path.parent / "moved")])
def test_what_is_open_outlives_its_files(pack: Path, remove: Callable[[Path], None]) -> None:
    with Embedder(pack) as embedder:
        first, other = TASKS[0], TASKS[1]
        vectors = embedder.encode(TEXTS, task=first)
        remove(pack)
        np.testing.assert_array_equal(embedder.encode(TEXTS, task=first), vectors)
        with pytest.raises(PackFileError, match="is missing") as caught:
            embedder.encode(TEXTS, task=other)
        assert str(pack) in str(caught.value)
        with pytest.raises((PackError, ManifestError), match=pack.name):
            Embedder(pack)
        np.testing.assert_array_equal(embedder.encode(TEXTS, task=first), vectors)
