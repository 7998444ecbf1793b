"""The languages of a pack: its manifest, the script of texts, and the one warning."""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from embedge import Embedder, LanguageWarning
from embedge.errors import ManifestError
from embedge.pack.manifest import MANIFEST
from embedge.pack.reading import parse_manifest, read_manifest
from embedge.texts.languages import known_scripts, usual_script

RUSSIAN = "Где находится ближайшая библиотека?"


def set_languages(pack: Path, languages: Sequence[object] | None) -> None:
    path = pack / MANIFEST
    manifest = json.loads(path.read_text())
    manifest.pop("languages", None)
    if languages is not None:
        manifest["languages"] = languages
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("The nearest library is closed today.", "Latin"),
        ("Où est la bibliothèque la plus proche ?", "Latin"),
        ("Tiếng Việt có nhiều dấu thanh", "Latin"),
        (RUSSIAN, "Cyrillic"),
        ("Πού είναι η βιβλιοθήκη;", "Greek"),
        ("أين تقع المكتبة القريبة؟", "Arabic"),
        ("הספרייה הקרובה סגורה היום", "Hebrew"),
        ("निकटतम पुस्तकालय कहाँ है और कब खुलता है", "Devanagari"),
        ("ห้องสมุดที่ใกล้ที่สุดอยู่ที่ไหน", "Thai"),
        ("가장 가까운 도서관은 어디에 있습니까", "Hangul"),
        ("一番近い図書館はどこにありますか", "Kana"),
        ("最近的图书馆今天关门了吗", "Han"),
        ("12:30, 45 %", ""),
        ("Да!", ""),  # too few letters
        ("", ""),
        ("The word библиотека means a library in Russian", "Latin"),
    ],
)
def test_the_script_of_a_text(text: str, script: str) -> None:
    assert usual_script(text) == script


def test_the_scripts_of_languages() -> None:
    assert known_scripts(("en", "de")) == {"Latin"}
    assert known_scripts(("zh-Hant", "ja")) == {"Han", "Kana"}
    assert not known_scripts(())
    assert not known_scripts(("en", "multilingual"))
    assert not known_scripts(("en", "xxx"))  # which may have any script


@pytest.mark.parametrize(
    ("languages", "texts", "warned"),
    [
        (["en"], [RUSSIAN], True),
        (["en"], ["plain", "naïve", RUSSIAN, RUSSIAN], True),
        (["en", "ru"], [RUSSIAN], False),
        (["ru"], ["The nearest library is closed"], True),
        (["en", "multilingual"], [RUSSIAN], False),
        ([], [RUSSIAN], False),
        (None, [RUSSIAN], False),  # an older pack
        (["en"], ["Où est la bibliothèque ?", "12:30"], False),
    ],
)
def test_one_warning(
    make_pack: Callable[..., Path], languages: list[str] | None, texts: list[str], warned: bool
) -> None:
    pack = make_pack(max_length=512)
    set_languages(pack, languages)
    with Embedder(pack) as embedder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = embedder.encode(texts)
        assert (embedder.encode(texts) == before).all()
    assert [one.category for one in caught] == [LanguageWarning] * warned
    if warned:
        assert caught[0].filename == __file__
        assert "`embedge list --models`" in str(caught[0].message)


@pytest.mark.parametrize("languages", [["English"], ["e"], [5], "en", ["EN"], ["en"] * 5000])
def test_languages_that_are_no_codes(pack: Path, languages: object) -> None:
    manifest = json.loads((pack / MANIFEST).read_text())
    with pytest.raises(ManifestError, match="languages"):
        parse_manifest(json.dumps({**manifest, "languages": languages}))


def test_an_older_manifest_has_none(pack: Path) -> None:
    set_languages(pack, None)
    assert read_manifest(pack).languages == ()


def test_info_and_doctor_show_them(
    pack: Path, capsys: pytest.CaptureFixture[str], run: Callable[..., str]
) -> None:
    set_languages(pack, ["en", "de"])
    assert "languages   en, de" in run("info", str(pack))
    assert json.loads(run("info", str(pack), "--json"))["languages"] == ["en", "de"]
    assert "en, de  (of the pack's model)" in run("doctor", str(pack))
    set_languages(pack, None)
    assert "languages   unknown" in run("info", str(pack))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    from embedge.cli import main

    def show(*words: str) -> str:
        main(list(words))
        return capsys.readouterr().out

    return show
