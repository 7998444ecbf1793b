r"""Regular expressions of files that nobody vouches for: matched in time linear in the text.

Python's own search backtracks, so a pattern of twenty characters can keep it busy for ever. Here a
pattern becomes a list of instructions, and all its branches are followed at once (Thompson 1968),
so the work is at most its instructions times the text's characters. Understood is what adapters
write of module names: characters, ".", classes, groups, alternatives, repeats, "^", "$" and "\b".
What needs backtracking (looking around, back references) is refused. The answer is only whether a
text matches, so greedy and lazy repeats are one.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# A pattern written for every layer and module of a large model has some 600 instructions.
MOST_INSTRUCTIONS = 2000
_DEEPEST = 20
_REPEAT = re.compile(r"\{(\d{0,4})(,?)(\d{0,4})\}")
_GROUP = re.compile(r"\((?:\?:|\?P<[A-Za-z_]\w*>|(?!\?))")
_MEMBER = r"(?:\\[dws.\-_]|[A-Za-z0-9_.](?:-[A-Za-z0-9])?)"
_CLASS = re.compile(rf"\[\^?{_MEMBER}+-?\]")
_ESCAPE = re.compile(r"\\[dDwWsS]|\\[^A-Za-z0-9]")
_EDGES = {"^": "^", "$": "$", r"\A": "^", r"\Z": "$", r"\b": "b", r"\B": "B"}

Test = Callable[[str], object]  # of one character
Edge = str  # "^", "$", "b" or "B"
Jump = tuple[int, ...]
Step = Test | Edge | Jump  # goes to the next if it holds; or to each of several; () is the end


class PatternError(ValueError):
    """The pattern is not a regular expression, or one that is not supported."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of a pattern, to be written as often as a repeat asks for."""

    kind: str  # "test", "edge", "all", "any", "repeat"
    parts: Sequence["_Node"] = ()
    test: Test | None = None
    edge: Edge = ""
    least: int = 0
    most: int | None = None


@dataclass(slots=True)
class Pattern:
    """A compiled pattern. `matches` is whether all of a text is one that it describes."""

    steps: list[Step]
    _moves: dict[tuple[frozenset[int], str, str], frozenset[int]] = field(default_factory=dict)

    def matches(self, text: str) -> bool:
        """As `re.fullmatch(pattern, text) is not None`."""
        now, before = frozenset({0}), ""
        for character in text:
            key = (now, before, character)
            if key not in self._moves:
                self._moves[key] = frozenset(
                    place + 1
                    for place in self._reached(now, before, character)
                    if callable(test := self.steps[place]) and test(character)
                )
            now, before = self._moves[key], character
            if not now:
                return False
        return any(self.steps[place] == () for place in self._reached(now, before, ""))

    def _reached(self, places: frozenset[int], before: str, after: str) -> set[int]:
        """Where one can be without taking a character, between these two."""
        seen: set[int] = set()
        left = list(places)
        while left:
            place = left.pop()
            if place in seen:
                continue
            seen.add(place)
            step = self.steps[place]
            if isinstance(step, tuple):
                left += step
            elif isinstance(step, str) and _holds(step, before, after):
                left.append(place + 1)
        return seen


def compile_pattern(text: str, *, ending: bool = False) -> Pattern:
    r"""A pattern for whole texts.

    Args:
        text: the regular expression.
        ending: whether it may also describe the text's end from behind a dot on: what PEFT writes
            as `(.*\.)?(text)$`.

    Raises:
        PatternError: the message says what is not supported, and where.
    """
    node = _Parser(text).parse()
    if ending:
        anything = _Node("repeat", (_test("."),))
        dotted = _Node("all", (anything, _test(r"\.")))
        node = _Node("all", (_Node("repeat", (dotted,), most=1), node))
    steps: list[Step] = []
    _write(node, steps)
    steps.append(())
    return Pattern(steps)


def _write(node: _Node, steps: list[Step]) -> None:
    """Appends a part's instructions."""
    if len(steps) > MOST_INSTRUCTIONS:
        raise PatternError(f"it describes more than {MOST_INSTRUCTIONS} characters")
    if node.test is not None:
        steps.append(node.test)
    elif node.kind == "edge":
        steps.append(node.edge)
    elif node.kind == "all":
        for part in node.parts:
            _write(part, steps)
    elif node.kind == "any":
        ends = []
        for part in node.parts[:-1]:
            fork = len(steps)
            steps.append(())
            _write(part, steps)
            ends.append(len(steps))
            steps.append(())
            steps[fork] = (fork + 1, len(steps))
        _write(node.parts[-1], steps)
        for place in ends:
            steps[place] = (len(steps),)
    else:
        _write_repeat(node, steps)


def _write_repeat(node: _Node, steps: list[Step]) -> None:
    [part] = node.parts
    for _ in range(node.least):
        start = len(steps)
        _write(part, steps)
        if len(steps) == start:
            break  # nothing, as often as one likes
    if node.most is None:
        fork = len(steps)
        steps.append(())
        _write(part, steps)
        steps.append((fork,))
        steps[fork] = (fork + 1, len(steps))
        return
    forks = []
    for _ in range(node.most - node.least):
        forks.append(len(steps))
        steps.append(())
        _write(part, steps)
    for fork in forks:
        steps[fork] = (fork + 1, len(steps))


def _holds(edge: Edge, before: str, after: str) -> bool:
    if edge == "^":
        return not before
    if edge == "$":
        return not after
    return (_is_word(before) != _is_word(after)) == (edge == "b")


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _test(expression: str) -> _Node:
    """A part that takes one character, described by a one-character expression."""
    try:
        return _Node("test", test=re.compile(expression).fullmatch)
    except re.error as error:  # a range from z to a
        raise PatternError(f"{expression!r}: {error}") from None


class _Parser:
    """Reads a pattern from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def parse(self) -> _Node:
        if len(self._text) > MOST_INSTRUCTIONS:
            raise PatternError(f"it is longer than {MOST_INSTRUCTIONS} characters")
        node = self._alternatives(0)
        if self._place < len(self._text):
            raise self._error()
        return node

    def _error(self) -> PatternError:
        rest = self._text[self._place : self._place + 10]
        found = f"{rest!r} at character {self._place + 1}" if rest else "its end"
        return PatternError(f"{found} is not supported, or not a regular expression")

    def _alternatives(self, depth: int) -> _Node:
        if depth > _DEEPEST:
            raise PatternError(f"groups stand in groups more than {_DEEPEST} deep")
        parts = [self._sequence(depth)]
        while self._take("|"):
            parts.append(self._sequence(depth))
        return parts[0] if len(parts) == 1 else _Node("any", parts)

    def _sequence(self, depth: int) -> _Node:
        parts: list[_Node] = []
        while self._place < len(self._text) and self._text[self._place] not in "|)":
            parts.append(self._repeated(self._atom(depth)))
        return _Node("all", parts)

    def _atom(self, depth: int) -> _Node:
        text, place = self._text, self._place
        if group := _GROUP.match(text, place):
            self._place = group.end()
            node = self._alternatives(depth + 1)
            if not self._take(")"):
                raise self._error()
            return node
        for spelling, edge in _EDGES.items():
            if self._take(spelling):
                return _Node("edge", edge=edge)
        for kind in (_CLASS, _ESCAPE):
            if found := kind.match(text, place):
                self._place = found.end()
                return _test(found[0])
        if text[place] in r"*+?()[]\{}":
            raise self._error()
        self._place += 1
        return _test(".") if text[place] == "." else _Node("test", test=text[place].__eq__)

    def _repeated(self, node: _Node) -> _Node:
        least, most = 1, 1
        if self._take("*"):
            least, most = 0, -1
        elif self._take("+"):
            least, most = 1, -1
        elif self._take("?"):
            least, most = 0, 1
        elif found := _REPEAT.match(self._text, self._place):
            if not found[1] and not (found[2] and found[3]):
                raise self._error()
            self._place = found.end()
            least = int(found[1] or 0)
            most = least if not found[2] else int(found[3]) if found[3] else -1
            if 0 <= most < least:
                raise PatternError(f"{found[0]!r} asks for more than it allows")
        else:
            return node
        if node.kind == "edge":
            raise self._error()
        self._take("?")  # lazy: another match, of the same texts
        if self._place < len(self._text) and self._text[self._place] in "*+?{":
            raise self._error()
        return _Node("repeat", (node,), least=least, most=None if most < 0 else most)

    def _take(self, what: str) -> bool:
        if not self._text.startswith(what, self._place):
            return False
        self._place += len(what)
        return True
