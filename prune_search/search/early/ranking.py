"""The order of trials on several objectives at once."""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np

from prune_search.search.early.standing import Standing


def order(standings: Sequence[Standing]) -> list[int]:
    """Indices, the best first.

    Feasible before infeasible (these by how little they break), then by non-dominated sorting, and inside a layer the
    loneliest first (crowding distance, Deb et al. 2002), so that a front keeps its spread. What is not finite is last.
    """
    table = np.array([at.losses for at in standings], dtype=float)
    finite = np.isfinite(table).all(axis=1)
    broken = np.array([at.violation for at in standings])
    layer = np.zeros(len(table))
    crowd = np.zeros(len(table))
    sound = np.flatnonzero(finite & (broken <= 0))
    if len(sound):
        layer[sound] = moocore.pareto_rank(table[sound])
        for each in np.unique(layer[sound]):
            members = sound[layer[sound] == each]
            crowd[members] = crowding(table[members])
    numbers = np.array([at.number for at in standings])
    return np.lexsort((numbers, -crowd, layer, broken, ~finite)).tolist()


def crowding(table: np.ndarray) -> np.ndarray:
    """[n] crowding distances of the rows of one layer [n, objectives]; infinite at the ends of every objective."""
    distance = np.zeros(len(table))
    for column in table.T:
        by = np.argsort(column, kind="stable")
        span = column[by[-1]] - column[by[0]]
        distance[by[[0, -1]]] = np.inf
        if span > 0:
            distance[by[1:-1]] += (column[by[2:]] - column[by[:-2]]) / span
    return distance
