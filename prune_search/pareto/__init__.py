"""The front: which trials nobody beats, how good they are together, and picking one."""

from __future__ import annotations

from prune_search.pareto.front import default_reference, front, hypervolume
from prune_search.pareto.picking import knee, pick
from prune_search.pareto.plots import figure

__all__ = ["default_reference", "figure", "front", "hypervolume", "knee", "pick"]
