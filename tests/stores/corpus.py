"""Questions and documents that every machine has: docstrings of Python's own library.

A docstring's first line is the question, the rest is the document. Modules are parsed, and never
imported.
"""

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_LONGEST = 600  # characters of a document


def pairs(most: int) -> list[tuple[str, str]]:
    """At most so many questions with their documents, none of either twice."""
    found: dict[str, str] = {}
    for docstring in _docstrings(Path(sysconfig.get_path("stdlib"))):
        question, _, rest = docstring.partition("\n\n")
        document = " ".join(rest.split())[:_LONGEST]
        if 20 < len(question) < 150 and len(document) > 80 and document not in found:
            found[document] = " ".join(question.split())
    unique = {question: document for document, question in found.items()}
    return list(unique.items())[:most]


def _docstrings(library: Path) -> Iterator[str]:
    for path in sorted([*library.glob("*.py"), *library.glob("[a-z]*/*.py")]):
        place = path.relative_to(library).as_posix()
        if place.startswith(("test", "site-packages", "lib2to3/tests", "idlelib/idle_test")):
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield ast.get_docstring(node) or ""
