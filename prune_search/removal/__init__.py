"""Masked network -> smaller network that computes the same."""

from __future__ import annotations

from prune_search.removal.adapted import trained_parameters
from prune_search.removal.apply import Removed, apply
from prune_search.removal.errors import RemovalError
from prune_search.removal.plan import Plan, dead_units, explain
from prune_search.removal.remove import check_equal, remove
from prune_search.removal.resize import resize, shapes_of
from prune_search.removal.slicing import slice_like

__all__ = [
    "Plan",
    "RemovalError",
    "Removed",
    "apply",
    "check_equal",
    "dead_units",
    "explain",
    "remove",
    "resize",
    "shapes_of",
    "slice_like",
    "trained_parameters",
]
