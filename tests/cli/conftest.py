"""What several tests of commands need."""

import pytest

from support.search_cases import Words


@pytest.fixture
def fake(monkeypatch):
    """An embedder that counts letters, which every command opens in place of a pack."""
    embedder = Words()
    monkeypatch.setattr("embedge.cli.arguments.open_embedder", lambda options: embedder)
    monkeypatch.setattr("embedge.search.database.SYNCHRONOUS", "OFF")
    return embedder
