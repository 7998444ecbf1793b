"""The adapters' regular expressions: as Python's own, and never slower than the text is long."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge_export.reading.patterns import PatternError, compile_pattern

NAMES = [
    "layers.0.self_attn.q_proj",
    "model.layers.11.self_attn.k_proj",
    "model.layers.2.mlp.down_proj",
    "embed_tokens",
    "lm_head",
    "",
    "a",
    "aab",
]
PATTERNS = [
    "q_proj",
    r".*\.(q|k)_proj",
    r".*\.[02]\..*(k|down)_proj",
    r"model\.layers\.(\d|1[01])\.(self_attn|mlp)\.(?:q_proj|down_proj)",
    r"(?:.*?(?:language|text|).*?(?:self_attn|mlp).*?(?:k_proj|v_proj|q_proj).*?)"
    r"|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|down_proj)))",
    r"^layers.0.*$",
    r"(?P<side>a){2}b?",
    r"a{,2}b",
    r"a*b+|lm_\w{2,4}",
    r"[^.]*",
    r"[a-z_]+[.][A-Z0-9]{1,2}[.].*_proj",
    r"\w+\b.*",
    r"\W*",
    r"|a",
    "",
    "(|(|))*",
    "(a|a)*b",
    "((a*)*)*b",
    r"a\Bab",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_match_what_pythons_match(pattern):
    whole, ending = compile_pattern(pattern), compile_pattern(pattern, ending=True)
    for name in NAMES:
        assert whole.matches(name) == bool(re.fullmatch(pattern, name)), name
        assert ending.matches(name) == bool(re.match(rf"(.*\.)?({pattern})$", name)), name


_PIECES = st.sampled_from(["a", "b", ".", r"\.", "[ab]", "[^a]", r"\w", r"\d", "^", "$", r"\b"])
_REPEATS = st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,2}", "{,2}", "{1,}"])


@given(
    pattern=st.recursive(
        _PIECES,
        lambda inner: (
            st.tuples(inner, inner).map("".join)
            | st.tuples(inner, inner).map("({0[0]}|{0[1]})".format)
            | st.tuples(inner, _REPEATS).map("(?:{0[0]}){0[1]}".format)
        ),
        max_leaves=6,
    ),
    text=st.text("ab.1", max_size=6),
)
def test_any_pattern_matches_what_pythons_matches(pattern, text):
    assert compile_pattern(pattern).matches(text) == bool(re.fullmatch(pattern, text))


@pytest.mark.parametrize(
    "pattern",
    [
        "(([a-z_.0-9])+)+X",
        "(.*a){25}",
        "(a|a)*" * 20 + "X",
        ".*" * 200 + "X",
        "(.|.)" * 200 + "X",
        "a?" * 100 + "a" * 100,
        "((){9999}){9999}X",
        "(((a*)*)*)*X",
    ],
)
def test_nothing_takes_long(pattern):
    """Python's own would take minutes to years; the work is counted, not timed."""
    text = "model.layers.10.self_attn.q_proj" * 2 + "a" * 60
    compiled = compile_pattern(pattern)
    asked = 0
    reached = type(compiled)._reached

    def count(self, places, before, after):
        nonlocal asked
        found = reached(self, places, before, after)
        asked += len(found)
        return found

    counted = type("Counted", (type(compiled),), {"_reached": count})(compiled.steps)
    counted.matches(text)
    assert asked <= len(compiled.steps) * (len(text) + 1)


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        ")",
        "a)",
        "[",
        "[]",
        "a{99999999999}",
        "a{9999}",
        "(a{999}){999}",
        "((((a{99}){99}){99}){99})",
        "(" * 2000 + "a" + ")" * 2000,
        "(" * 50 + "a" + ")" * 50,
        "(?=a)a",
        "(?<!a)b",
        r"(a)\1",
        "(?i)a",
        "(?P=a)",
        "*a",
        "a**",
        "a*+",
        "^*",
        "a{3,2}",
        "[z-a]",
        "[[:alpha:]]",
        r"\x61",
        "\\",
        "a" * 3000,
    ],
)
def test_what_is_not_understood_is_refused(pattern):
    with pytest.raises(PatternError):
        compile_pattern(pattern)
