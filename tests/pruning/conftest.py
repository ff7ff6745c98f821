"""Parts that exist for one test only."""

import pytest

from prune_search.pruning import context as contexts
from prune_search.pruning import registry


@pytest.fixture
def own(monkeypatch):
    """Register parts and measurements for one test."""
    registry.parts("score")
    contexts.measurements()
    monkeypatch.setattr(registry, "_PARTS", {axis: dict(known) for axis, known in registry._PARTS.items()})
    monkeypatch.setattr(contexts, "MEASUREMENTS", dict(contexts.MEASUREMENTS))
