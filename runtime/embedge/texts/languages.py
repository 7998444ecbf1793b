"""Whether texts are in a pack's languages, as far as their letters and words say it: said once.

Takes the codes of the manifest and texts; looks at the script of the letters, and where that is
Latin at the most usual words (`function_words`), with no model: of a pack for English it finds
Russian, and German where a text is long enough to have such words. Scripts are the blocks of
Unicode that their letters stand in. Knows no tokenizer.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence

from embedge.cautions import warn
from embedge.fork_locks import ForkLock
from embedge.texts.function_words import known_languages, other_language

MULTILINGUAL = "multilingual"
# Of a text, the characters that are looked at; and how many letters say something.
_LOOKED_AT, _LETTERS = 400, 8

# First code point of a run of blocks -> the script of its letters; up to the next line.
_BLOCKS = (
    (0x0041, "Latin"),
    (0x0370, "Greek"),
    (0x0400, "Cyrillic"),
    (0x0530, "Armenian"),
    (0x0590, "Hebrew"),
    (0x0600, "Arabic"),
    (0x0700, ""),
    (0x0900, "Devanagari"),
    (0x0980, "Bengali"),
    (0x0A00, "Gurmukhi"),
    (0x0A80, "Gujarati"),
    (0x0B00, "Oriya"),
    (0x0B80, "Tamil"),
    (0x0C00, "Telugu"),
    (0x0C80, "Kannada"),
    (0x0D00, "Malayalam"),
    (0x0D80, "Sinhala"),
    (0x0E00, "Thai"),
    (0x0E80, "Lao"),
    (0x0F00, ""),
    (0x1000, "Burmese"),
    (0x10A0, "Georgian"),
    (0x1100, "Hangul"),
    (0x1200, "Ethiopic"),
    (0x13A0, ""),
    (0x1780, "Khmer"),
    (0x1800, ""),
    (0x1E00, "Latin"),
    (0x1F00, "Greek"),
    (0x2000, ""),
    (0x2C60, "Latin"),
    (0x2C80, ""),
    (0x3040, "Kana"),
    (0x3100, ""),
    (0x3400, "Han"),
    (0xA000, ""),
    (0xA720, "Latin"),
    (0xA800, ""),
    (0xAC00, "Hangul"),
    (0xD7B0, ""),
    (0xF900, "Han"),
    (0xFB00, "Latin"),
    (0xFB10, ""),
    (0xFB50, "Arabic"),
    (0xFE00, ""),
    (0xFE70, "Arabic"),
    (0xFF00, ""),
    (0x20000, "Han"),
    (0x30000, ""),
)
_STARTS = [start for start, _ in _BLOCKS]
_NOT_LETTERS = bytes(code for code in range(128) if not chr(code).isalpha())
_LATIN = """
    af az bs ca ceb co cs cy da de en eo es et eu fi fil fr fy ga gd gl ha haw hr ht hu id ig is
    it jv la lb lt lv mg mi ms mt nb nl nn no ny pl pt ro sk sl sm sn so sq st su sv sw tl tr uz vi
    xh yo zu
"""
_SCRIPTS = {
    **dict.fromkeys(_LATIN.split(), ("Latin",)),
    **dict.fromkeys(("be", "bg", "kk", "ky", "mk", "mn", "ru", "tg", "uk"), ("Cyrillic",)),
    **dict.fromkeys(("ar", "fa", "ps", "sd", "ug", "ur"), ("Arabic",)),
    **dict.fromkeys(("he", "iw", "yi"), ("Hebrew",)),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), ("Devanagari",)),
    **dict.fromkeys(("as", "bn"), ("Bengali",)),
    **dict.fromkeys(("am", "ti"), ("Ethiopic",)),
    "el": ("Greek",),
    "gu": ("Gujarati",),
    "hy": ("Armenian",),
    "ja": ("Kana", "Han"),
    "ka": ("Georgian",),
    "km": ("Khmer",),
    "kn": ("Kannada",),
    "ko": ("Hangul", "Han"),
    "lo": ("Lao",),
    "ml": ("Malayalam",),
    "my": ("Burmese",),
    "or": ("Oriya",),
    "pa": ("Gurmukhi", "Arabic"),
    "si": ("Sinhala",),
    "sr": ("Cyrillic", "Latin"),
    "ta": ("Tamil",),
    "te": ("Telugu",),
    "th": ("Thai",),
    "zh": ("Han",),
}


class LanguageWarning(UserWarning):
    """A text is mostly in letters, or in the usual words, of none of the pack's languages."""


class Languages:
    """The languages of a pack; says once that a text is in none of them. Safe between threads.

    Args:
        model: its name, for the message.
        languages: as the manifest has them. Where there is none, where they are "multilingual", or
            where the script of one is not known here, nothing is ever said. Words are looked at
            where those of all languages in Latin letters are known.
        expected: texts that nothing is said of, such as the pack's own samples, which are in many
            languages.
    """

    def __init__(
        self, model: str, languages: Sequence[str], *, expected: Iterable[str] = ()
    ) -> None:
        self._model = model
        self._expected = frozenset(expected)
        self._named = ", ".join(languages)
        self._scripts = known_scripts(languages)
        latin = [code for code in languages if "Latin" in known_scripts([code])]
        self._words = known_languages(latin) if self._scripts else frozenset()
        self._lock = ForkLock()  # of `_scripts`

    def note(self, texts: Iterable[str | None]) -> None:
        """Looks at texts until one is in another language, and warns of that."""
        if (caution := self.caution(texts)) is not None:
            # Past the method of `Embedder` and what wraps it.
            warn(caution, LanguageWarning, stacklevel=5)

    def caution(self, texts: Iterable[str | None]) -> str | None:
        """What to say of these texts, for those who have no use for a warning; None: nothing."""
        for text in texts:
            if not (scripts := self._scripts):
                return None
            if text is None or text in self._expected:
                continue
            if problem := self._problem(text, scripts):
                with self._lock:
                    first, self._scripts = bool(self._scripts), frozenset()
                if not first:  # another thread said it
                    return None
                return (
                    f"a text {problem}, and {self._model} is for texts in "
                    f"{self._named}: its vectors of other languages mean little. Take a pack for "
                    "the language; `embedge list --models` names some for many languages"
                )
        return None

    def _problem(self, text: str, scripts: frozenset[str]) -> str | None:
        """What of a text is of another language; None where nothing is, or where it is not sure."""
        if "Latin" not in scripts or not _is_mostly_ascii(text):
            script = usual_script(text)
            if script and script not in scripts:
                return f"is mostly in {script} letters"
        language = other_language(text, self._words) if self._words else None
        return language and f"looks like {language}"


def known_scripts(languages: Sequence[str]) -> frozenset[str]:
    """The scripts of these languages; empty where that of one is not known."""
    scripts = [_SCRIPTS.get(code.partition("-")[0].lower()) for code in languages]
    if None in scripts:
        return frozenset()
    return frozenset(script for several in scripts for script in several or ())


def usual_script(text: str) -> str:
    """The script of more than half of a text's letters; "" where there is none, or few letters.

    >>> usual_script("Где находится библиотека?"), usual_script("12:30")
    ('Cyrillic', '')
    """
    counts = Counter(_script(letter) for letter in text[:_LOOKED_AT] if letter.isalpha())
    total = counts.total()
    if total < _LETTERS:
        return ""
    script, count = counts.most_common(1)[0]
    return script if 2 * count > total else ""


def _is_mostly_ascii(text: str) -> bool:
    """Whether other characters are too few to be most of a text's letters, in 2 us rather than 100.

    Every call looks at every text, and most hold a dash or an accent at the most.
    """
    if text.isascii():
        return True
    seen = text[:_LOOKED_AT]
    plain = seen.encode("ascii", "ignore")
    return len(seen) - len(plain) <= len(plain.translate(None, _NOT_LETTERS))


def _script(letter: str) -> str:
    place = bisect_right(_STARTS, ord(letter)) - 1
    return _BLOCKS[place][1] if place >= 0 else ""
