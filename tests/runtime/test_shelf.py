"""Packs that are found by name, and what is said of names that are not there."""

from pathlib import Path

import pytest

from embedge import Embedder
from embedge.errors import ManifestError, OptionError, PackError
from embedge.known_models import KNOWN_MODELS, find_known_model
from embedge.pack.files import open_pack, remove_pack
from embedge.pack.manifest import MANIFEST
from embedge.pack.shelf import find_shelved, packs_folder, place_of, shelved_packs
from support.tiny import write_pack


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pack folder, with one pack of the model fake/words."""
    monkeypatch.setenv("EMBEDGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "home" / "packs"
    folder.mkdir(parents=True)
    write_pack(folder / "mine")
    return folder


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({"EMBEDGE_HOME": "/e", "XDG_DATA_HOME": "/d"}, "linux", "/e/packs"),
        ({"XDG_DATA_HOME": "/d", "HOME": "/h"}, "linux", "/d/embedge/packs"),
        ({"XDG_DATA_HOME": "", "HOME": "/h"}, "linux", "/h/.local/share/embedge/packs"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Application Support/embedge/packs"),
        ({"LOCALAPPDATA": "/l"}, "win32", "/l/embedge/packs"),
        ({}, "win32", None),
    ],
)
def test_where_packs_stand(
    environment: dict[str, str], platform: str, expected: str | None
) -> None:
    folder = packs_folder(environment, platform)
    assert folder == (None if expected is None else Path(expected))


def test_a_home_that_is_no_absolute_path() -> None:
    with pytest.raises(OptionError, match="EMBEDGE_HOME is 'packs'"):
        packs_folder({"EMBEDGE_HOME": "packs"}, "linux")


def test_a_pack_is_found_by_name(shelf: Path) -> None:
    model_id = open_pack(shelf / "mine").manifest.model_id
    for name in ("mine", model_id, model_id.upper(), model_id.rpartition("/")[2]):
        assert find_shelved(name) == shelf / "mine"
        assert open_pack(name).folder == shelf / "mine"
    with Embedder("mine") as one, Embedder(shelf / "mine") as two:
        assert one.folder == two.folder
        assert (one.encode("a") == two.encode("a")).all()


def test_a_folder_comes_first(shelf: Path, tmp_path: Path) -> None:
    write_pack(tmp_path / "mine")
    assert open_pack("mine").folder == tmp_path / "mine"
    (tmp_path / "mine" / MANIFEST).unlink()
    with pytest.raises(ManifestError, match=r"has no manifest\.json"):
        open_pack("mine")


def test_two_packs_of_one_model(shelf: Path) -> None:
    write_pack(shelf / "other")
    model_id = open_pack("mine").manifest.model_id
    with pytest.raises(PackError, match=r"several packs are of .*: mine, other; name one"):
        open_pack(model_id)
    assert open_pack("other").folder == shelf / "other"


def test_what_is_not_there(shelf: Path) -> None:
    with pytest.raises(
        PackError,
        match=r"in .*packs; `embedge export BAAI/bge-small-en-v1\.5 --prompt .*license MIT",
    ):
        open_pack("bge-small-en-v1.5")
    with pytest.raises(PackError, match="did you mean 'mine'"):
        open_pack("mime")
    with pytest.raises(PackError, match="did you mean 'all-MiniLM-L6-v2'"):
        open_pack("all-minilm-l6")
    with pytest.raises(PackError, match="`embedge export owner/else` makes its pack"):
        open_pack("owner/else")
    with pytest.raises(PackError, match="`embedge list --models`"):
        open_pack("zzzzzz")
    with pytest.raises(ManifestError, match="is not a folder"):
        open_pack("./mine")  # plainly a path


def test_a_manifest_that_cannot_be_read_hides_no_other_pack(shelf: Path) -> None:
    (shelf / "broken").mkdir()
    (shelf / "broken" / MANIFEST).write_text("{")
    (shelf / "notes.txt").touch()
    names = [(pack.folder.name, pack.manifest is None) for pack in shelved_packs()]
    assert names == [("broken", True), ("mine", False)]
    with pytest.raises(ManifestError, match="not valid JSON"):
        open_pack("broken")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a:b"])
def test_names_that_are_not_a_folders(shelf: Path, name: str) -> None:
    with pytest.raises(OptionError, match="cannot be a pack's name"):
        place_of(name)


def test_removing_leaves_what_is_not_the_packs(shelf: Path) -> None:
    total = sum(path.stat().st_size for path in (shelf / "mine").iterdir())
    (shelf / "mine" / "notes.txt").write_text("mine")
    assert remove_pack(shelf / "mine") == (total, ["notes.txt"])
    assert [path.name for path in (shelf / "mine").iterdir()] == ["notes.txt"]
    write_pack(shelf / "other")
    remove_pack(shelf / "other")
    assert not (shelf / "other").exists()


def test_known_models_have_names_of_their_own() -> None:
    names = [known.name.casefold() for known in KNOWN_MODELS]
    assert len(set(names)) == len(names)
    for known in KNOWN_MODELS:
        assert find_known_model(known.name) is find_known_model(known.model_id.upper()) is known
    assert find_known_model("nobody/nothing") is None
