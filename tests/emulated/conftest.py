"""A table of what the emulated machines gave, at the end of a run."""

import pytest

HEAD = (
    "model", "machine", "kernel", "cosine to fp32, min", "its own kernel, min",
    "alone vs batch", "vs this machine", "cosine to this machine, min",
)  # fmt: skip
_rows: list[tuple] = []


@pytest.fixture
def tell():
    """tell(*cells): one row of the table."""
    return lambda *cells: _rows.append(cells)


def pytest_terminal_summary(terminalreporter):
    """Prints the rows as Markdown."""
    if not _rows:
        return
    terminalreporter.section("emulated machines")
    terminalreporter.line("| " + " | ".join(HEAD) + " |")
    terminalreporter.line("|---|---|---|" + "---:|" * (len(HEAD) - 3))
    for row in _rows:
        cells = [
            str(c) if isinstance(c, str) else f"{c:.6f}" if c > 0.5 else f"{c:.1e}" for c in row
        ]
        terminalreporter.line("| " + " | ".join(cells) + " |")
