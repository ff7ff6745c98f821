"""Masked network -> smaller network that computes the same."""

from __future__ import annotations

from prune_search.removal.chains import explain
from prune_search.removal.errors import RemovalError
from prune_search.removal.plan import Plan, Removed, apply, dead_units, slice_like
from prune_search.removal.remove import check_equal, remove
from prune_search.removal.resize import resize, shapes_of

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
]
