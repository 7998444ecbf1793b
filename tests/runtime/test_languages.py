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
from embedge.texts.function_words import known_languages, other_language
from embedge.texts.languages import Languages, known_scripts, usual_script

GERMAN = (
    "Die Kündigungsfrist der Wohnung beträgt drei Monate, und sie endet mit dem Ablauf des Monats."
)
CODE = "e = S.Zero elif isinstance(e, numpy_ndarray): e = a + b * b + a z = x * c + z * s in on is"
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
    ("text", "language"),
    [
        (GERMAN, "German"),
        ("Le contrat de location prend fin dans les trois mois qui suivent la lettre.", "French"),
        ("El contrato de la casa termina en los tres meses que siguen a la carta.", "Spanish"),
        (
            "O contrato de aluguer termina em três meses, e não há mais nada para pagar.",
            "Portuguese",
        ),
        (
            "Il contratto di affitto finisce dopo tre mesi e non c'è nulla da pagare per la.",
            "Italian",
        ),
        ("De huurovereenkomst eindigt na drie maanden en er is niet meer te betalen.", "Dutch"),
        ("Avtalet upphör efter tre månader och det är inte mer att betala för en.", "Swedish"),
        ("Umowa jest ważna przez trzy miesiące i nie ma już nic do zapłaty po tym.", "Polish"),
        ("Hợp đồng này có hiệu lực trong ba tháng và không được gia hạn.", "Vietnamese"),
        ("Die Frist", None),  # too few words
        ("In the end the museum of Der Blaue Reiter is on the left, and it is open.", None),
        ("The names are van der Berg, de la Cruz, da Silva, von Stein and di Marco.", None),
        (
            "Usage: embedge embed notes.txt --out vectors.npy --task retrieval --truncate-dim 64",
            None,
        ),
        (CODE, None),
        ("", None),
    ],
)
def test_the_language_of_a_text_in_latin_letters(text: str, language: str | None) -> None:
    assert other_language(text, known_languages(["en"])) == language
    german = known_languages(["en", "de"])
    assert other_language(text, german) == (None if language == "German" else language)


def test_no_page_of_ours_is_taken_for_another_language() -> None:
    english = known_languages(["en"])
    root = Path(__file__).parents[2]
    pages = [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("runtime/embedge/*.py")]
    pieces = [
        text[start : start + 600]
        for page in pages
        for text in [page.read_text(encoding="utf-8")]
        for start in range(0, len(text), 600)
    ]
    assert len(pieces) > 500
    assert [piece for piece in pieces if other_language(piece, english)] == []


def test_languages_that_are_not_known_are_not_judged() -> None:
    assert known_languages(["en-GB", "no"]) == {"en", "nb"}
    assert not known_languages(["en", "ca"])
    assert not known_languages([])


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
        (["en"], ["Où est la bibliothèque ?", "12:30"], False),  # too few words
        (["en"], ["plain", GERMAN], True),
        (["en", "zh"], [GERMAN], True),
        (["en", "de"], [GERMAN], False),
        (["en", "ca"], [GERMAN], False),  # no words of Catalan are known
        (["en", "multilingual"], [GERMAN], False),
        ([], [GERMAN], False),
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


def test_the_samples_of_a_pack_are_expected(capsys: pytest.CaptureFixture[str]) -> None:
    """They are in many languages, and `doctor` and `verify` embed them."""
    silent = Languages("model", ["en"], expected=[GERMAN, RUSSIAN])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        silent.note([GERMAN, RUSSIAN])
        assert caught == []
        silent.note([GERMAN + " "])
    assert [one.category for one in caught] == [LanguageWarning]


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
