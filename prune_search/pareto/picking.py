"""Picking one point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prune_search.errors import UserError
from prune_search.pareto.front import front
from prune_search.pareto.scale import Objectives, Point, losses, scaled
from prune_search.spec.conditions import Condition


def knee(points: Sequence[Point], objectives: Objectives) -> int:
    """Index of the front's knee: farthest from the plane through the front's extremes, towards the ideal.

    Objectives are normalised to [0, 1] over the front, counts and reductions in decades. With one objective
    the best point, on a front of two the first. Ties: the lower index. Where the extremes span no plane that
    faces the ideal, the plane through the unit points is taken (our choice).

    Raises:
        UserError: If no point has a finite value for every objective.
    """
    indices = front(points, objectives)
    if not indices:
        raise UserError(
            f"No trial has a finite value for every objective ({', '.join(objectives)}), so there is no "
            "front to pick from."
        )
    table = scaled([points[i] for i in indices], objectives)
    span = np.ptp(table, axis=0)
    table = (table - table.min(axis=0))[:, span > 0] / span[span > 0]
    if not table.shape[1]:
        return indices[0]
    normal = _normal(table[table.argmin(axis=0)])
    distances = (1 - table @ normal) / np.linalg.norm(normal)
    return indices[int(np.flatnonzero(distances >= distances.max() - 1e-12)[0])]


def _normal(extremes: np.ndarray) -> np.ndarray:
    """n of the hyperplane n x = 1 through the rows of ``extremes`` [d, d]."""
    ones = np.ones(len(extremes))
    try:
        normal = np.linalg.solve(extremes, ones)
    except np.linalg.LinAlgError:
        return ones
    return normal if (normal > 0).all() else ones


def pick(
    points: Sequence[Point],
    objectives: Objectives,
    *,
    where: Condition | None = None,
    optimize: Objectives | None = None,
) -> int:
    """Index of one point: the best in one metric, or the knee, among those that fulfil a condition.

    Args:
        points: Metrics of one trial each.
        objectives: Metric -> direction, of the search.
        where: Only points that fulfil it, on the front or not. Default: all.
        optimize: One metric and its direction, as in ``{"params": "minimize"}``. Ties go to a point of the
            front among those, then to the lower index. Default: the knee.

    Raises:
        UserError: If no point fulfils ``where``, or none that does has the metrics needed.
    """
    chosen = [i for i, point in enumerate(points) if where is None or where.holds(point)]
    if not chosen:
        raise UserError(_nobody(points, where))
    candidates = [points[i] for i in chosen]
    if optimize is None:
        return chosen[knee(candidates, objectives)]
    if len(optimize) != 1:
        raise UserError(f"Optimise one metric, not {len(optimize)}: {', '.join(optimize)}.")
    values = losses(candidates, optimize)[:, 0]
    if not np.isfinite(values).any():
        raise UserError(f"No trial that fulfils the condition has a value for '{next(iter(optimize))}'.")
    ties = [i for i in range(len(values)) if values[i] == np.min(values[np.isfinite(values)])]
    return chosen[next((i for i in front(candidates, objectives) if i in ties), ties[0])]


def _nobody(points: Sequence[Point], where: Condition | None) -> str:
    if not points:
        return "There is no trial to pick from."
    nearest = min(points, key=where.violation)
    values = ", ".join(f"{name} = {nearest.get(name)}" for name in sorted(where.names()))
    return f"No trial fulfils '{where}'. The nearest has {values}."
