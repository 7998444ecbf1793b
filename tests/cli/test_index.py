"""One index for each folder and pack: kept apart, found from below, listed and removed."""

import dataclasses
import json
import os
import sqlite3
from pathlib import Path

import pytest

from embedge.cli import main
from embedge.search import SearchIndex, default_place
from embedge.search.updating import updating
from support.search_cases import Words


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("aa b\n")
    (folder / "sub" / "b.txt").write_text("a bbb\n")
    return folder


def be(embedder: Words, model: str) -> None:
    """Makes it an embedder of another pack."""
    embedder.manifest = dataclasses.replace(embedder.manifest, model_id=model)
    embedder.calls.clear()


def indexes(capsys) -> list[dict]:
    capsys.readouterr()
    assert main(["index", "--list", "--json"]) == 0
    return json.loads(capsys.readouterr().out)["indexes"]


def files() -> list[Path]:
    return sorted(Path(os.environ["XDG_CACHE_HOME"]).rglob("*.sqlite"))


def test_going_back_and_forth_between_two_packs_embeds_nothing_again(fake, folder, capsys):
    for model, embedded in (("one/model", 2), ("other/model", 2), ("one/model", 0)):
        be(fake, model)
        assert main(["search", "aa b", str(folder)]) == 0
        assert len(fake.embedded) == embedded
    assert "again" not in capsys.readouterr().err
    assert main(["search", "aa b", str(folder), "--task", "text-matching"]) == 0
    assert len(files()) == 3  # a task has vectors of its own too
    assert main(["search", "aa b", str(folder)]) == 0
    assert len(fake.embedded) == 2


def test_a_folder_below_uses_the_index_of_the_one_above(fake, folder, capsys):
    assert main(["search", "a bbb", str(folder)]) == 0
    fake.calls.clear()
    assert main(["search", "a bbb", str(folder / "sub"), "--json"]) == 0
    (hit,) = map(json.loads, capsys.readouterr().out.splitlines()[-1:])
    assert hit["file"] == str(folder / "sub" / "b.txt")
    assert fake.embedded == []
    (place,) = files()
    (folder / "sub" / "c.txt").write_text("new here")
    assert main(["search", "new", str(folder / "sub"), str(folder / "a.txt")]) == 0
    assert fake.embedded == ["new here"]
    assert files() == [place]
    # To make everything again below must not empty what is above.
    assert main(["search", "new", str(folder / "sub"), "--rebuild"]) == 0
    assert len(files()) == 2
    with SearchIndex(place, fake) as index:
        assert index.count() == (3, 3)


def test_nor_does_a_change_of_the_device_below_empty_what_is_above(fake, folder):
    assert main(["search", "a bbb", str(folder)]) == 0
    (place,) = files()
    before = place.read_bytes()
    fake.device = "cuda"
    assert main(["search", "a bbb", str(folder / "sub")]) == 0
    assert place.read_bytes() == before
    assert len(files()) == 2


def test_a_folder_that_the_one_above_leaves_out_gets_its_own(fake, folder):
    (folder / "build").mkdir()
    (folder / "build" / "made.txt").write_text("made")
    assert main(["search", "a", str(folder)]) == 0
    assert main(["search", "made", str(folder / "build")]) == 0
    assert len(files()) == 2


def test_an_index_of_an_earlier_version_is_still_used(fake, folder):
    place = default_place(folder)  # without a maker in its name
    with SearchIndex(place, fake) as index:
        index.update(folder)
    fake.calls.clear()
    assert main(["search", "aa b", str(folder)]) == 0
    assert fake.embedded == []
    assert files() == [place]
    be(fake, "other/model")
    assert main(["search", "aa b", str(folder)]) == 0
    assert len(files()) == 2


def test_an_index_that_somebody_named_is_not_emptied_for_another_pack(
    fake, folder, tmp_path, capsys
):
    place = tmp_path / "own"
    command = ["search", "aa b", str(folder), "--index", str(place)]
    be(fake, "one/model")
    assert main(command) == 0
    before = place.read_bytes()
    be(fake, "other/model")
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "was made with one/model, task retrieval, and this is other/model" in error
    assert "--rebuild" in error
    assert place.read_bytes() == before
    assert fake.embedded == []
    be(fake, "one/model")
    assert main([*command, "--task", "text-matching"]) == 2
    assert "task text-matching" in capsys.readouterr().err
    assert main([*command, "--task", "text-matching", "--rebuild"]) == 0


def test_the_list_says_what_each_is_of(fake, folder, capsys):
    assert main(["index"]) == 0
    assert "there is no index in" in capsys.readouterr().err
    be(fake, "one/model")
    assert main(["search", "aa b", str(folder)]) == 0
    (facts,) = indexes(capsys)
    (place,) = files()
    assert facts["file"] == str(place)
    assert facts["folders"] == [{"path": str(folder), "exists": True}]
    assert (facts["model"], facts["task"], facts["precision"]) == (
        *("one/model", "retrieval"),
        fake.precision,
    )
    assert (facts["files"], facts["passages"]) == (2, 2)
    assert facts["size"] == place.stat().st_size
    os.utime(place, (10**9, 10**9))
    assert indexes(capsys)[0]["used"] == "2001-09-09T01:46:40Z"
    assert main(["search", "aa b", str(folder)]) == 0  # nothing new to embed, but it was used
    assert indexes(capsys)[0]["used"] > "2020"
    folder.rename(folder.with_name("moved"))
    assert main(["index", "--list"]) == 0
    out = capsys.readouterr().out
    assert f"{folder} (no longer exists)" in out
    assert "one/model" in out


def test_one_that_is_damaged_is_listed_and_can_be_removed(fake, folder, capsys):
    assert main(["search", "aa b", str(folder)]) == 0
    (place,) = files()
    place.write_bytes(place.read_bytes()[:5000])
    (facts,) = indexes(capsys)
    assert facts["fault"]
    assert main(["index"]) == 0
    assert "cannot be read" in capsys.readouterr().out
    assert main(["index", "--forget", str(place)]) == 0
    assert files() == []


def test_forgetting_removes_what_is_meant_and_nothing_else(fake, folder, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "c.txt").write_text("ccc")
    own = tmp_path / "own.sqlite"
    for model in ("one/model", "other/model"):
        be(fake, model)
        assert main(["search", "aa b", str(folder)]) == 0
    assert main(["search", "ccc", str(other)]) == 0
    assert main(["search", "ccc", str(other), "--index", str(own)]) == 0
    cache = files()[0].parent
    stranger = cache / "stranger.sqlite"
    sqlite3.connect(stranger).execute("CREATE TABLE mine (a)").connection.close()
    (cache / "linked.sqlite").symlink_to(own)
    kept = [stranger, cache / "linked.sqlite", own]

    assert main(["index", "--forget", str(folder), str(tmp_path / "nowhere")]) == 2
    assert "there is no index of" in capsys.readouterr().err
    assert len(indexes(capsys)) == 3  # all or none
    assert main(["index", "--forget", str(own)]) == 2
    assert main(["index", "--forget", str(stranger)]) == 2
    assert main(["index", "--forget", str(folder / "sub")]) == 2
    assert f"its passages are in that of {folder}" in capsys.readouterr().err
    assert main(["index", "--forget", str(folder)]) == 0  # of both packs
    assert capsys.readouterr().out.count("removed") == 2
    assert [Path(facts["folders"][0]["path"]) for facts in indexes(capsys)] == [other]
    assert main(["index", "--forget", "--all", "--json"]) == 0
    (removed,) = json.loads(capsys.readouterr().out)["removed"]
    assert not Path(removed["file"]).exists()
    assert all(path.exists() for path in kept)
    assert indexes(capsys) == []
    for wrong in (["--forget"], ["--all"], ["--forget", "x", "--all"], ["--list", "--forget"]):
        assert main(["index", *wrong]) == 2


def test_an_index_in_use_stays(fake, folder, capsys):
    assert main(["search", "aa b", str(folder)]) == 0
    (place,) = files()
    with updating(place):
        assert main(["index", "--forget", str(folder)]) == 1
    reader = sqlite3.connect(place, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM files").fetchall()
    assert main(["index", "--forget", "--all"]) == 1
    reader.close()
    assert capsys.readouterr().err.count("is in use; try again when that is done") == 2
    assert place.exists()
    assert main(["index", "--forget", str(folder)]) == 0
    assert not place.exists()


def test_names_of_folders_that_are_not_unicode(fake, tmp_path, capsys):
    try:
        folder = tmp_path / os.fsdecode(b"caf\xe9")
        folder.mkdir()
    except (OSError, UnicodeError):
        pytest.skip("this system does not take such names")
    (folder / "a.txt").write_text("aa b")
    assert main(["search", "aa b", str(folder)]) == 0
    assert indexes(capsys)[0]["folders"] == [{"path": str(folder), "exists": True}]
    assert main(["index"]) == 0
    assert main(["index", "--forget", str(folder)]) == 0
    assert files() == []
