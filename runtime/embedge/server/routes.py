"""Which route a request means: the paths of all dialects, with and without a pack's name before.

A path is matched as it is first; else a first part that names a pack, a task, or both (`models`) is
taken off. Several dialects may have a route of one path.
"""

from collections.abc import Sequence
from typing import NamedTuple

from embedge.server.dialect import Dialect, Route
from embedge.server.models import Models
from embedge.server.refusals import Kind, Refusal

Choices = list[tuple[Dialect, Route]]  # routes of one method and path; never empty


class Match(NamedTuple):
    """What a method and a path mean."""

    choices: Choices
    parts: dict[str, str]  # the part of the path that varies, by its name
    model: str | None  # what the first part of the path says
    task: str | None


class Table:
    """The routes of all dialects.

    Args:
        dialects: the first is meant where a request does not say which it speaks.
    """

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._exact: dict[str, dict[str, Choices]] = {}
        self._open_ended: dict[str, dict[str, Choices]] = {}
        for dialect in dialects:
            for route in dialect.routes:
                start, brace, _ = route.path.partition("{")
                table = self._open_ended if brace else self._exact
                methods = table.setdefault(start, {})
                methods.setdefault(route.method, []).append((dialect, route))

    def find(self, method: str, path: str, models: Models) -> Match:
        """The routes that a request may mean.

        Raises:
            Refusal: NOT_FOUND, METHOD.
        """
        methods, parts = self._at(path)
        model = task = None
        if not methods:
            _, first, rest = (*path.split("/", 2), "", "")[:3]
            named = models.of_prefix(first)
            if named is not None:
                model, task = named
                methods, parts = self._at("/" + rest)
        if not methods:
            raise Refusal(Kind.NOT_FOUND, "there is no such path here; /docs lists them")
        choices = methods.get(method) or (methods.get("GET") if method == "HEAD" else None)
        if not choices:
            takes = tuple(methods)
            raise Refusal(
                Kind.METHOD,
                f"this path takes {' and '.join(takes)}, not {method[:20]}",
                allow=takes,
            )
        return Match(choices, parts, model, task)

    def _at(self, path: str) -> tuple[dict[str, Choices], dict[str, str]]:
        """What a path has by method, and the part of it that varies; empty if there is no such."""
        if path in self._exact:
            return self._exact[path], {}
        for start, methods in self._open_ended.items():
            if path.startswith(start) and len(path) > len(start):
                (((_, route), *_), *_) = methods.values()
                name = route.path[len(start) :].strip("{}")
                return methods, {name: path[len(start) :]}
        return {}, {}
