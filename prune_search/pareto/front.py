"""Which points nobody beats, and how good they are together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import moocore
import numpy as np

from prune_search.errors import UserError
from prune_search.pareto.scale import Objectives, Point, losses, scaled

_BOUNDED = {
    "accuracy": 0.0,
    "test_accuracy": 0.0,
    "sparsity": 0.0,
    "params_reduction": 1.0,
    "flops_reduction": 1.0,
    "train_flops_ratio": 1.0,
}


def front(points: Sequence[Point], objectives: Objectives) -> list[int]:
    """Indices of the points that no other point dominates, ascending.

    Args:
        points: Metrics of one trial each. A point whose value for an objective is missing, None, NaN or
            infinite is never on the front and beats nobody. Equal points are all on it, or none.
        objectives: Metric -> ``maximize`` or ``minimize``; any number of them.

    Raises:
        UserError: If there is no objective, or a direction is another word.
    """
    table = losses(points, objectives)
    finite = np.flatnonzero(np.isfinite(table).all(axis=1))
    if not len(finite):
        return []
    return finite[moocore.is_nondominated(table[finite], keep_weakly=True)].tolist()


def hypervolume(points: Sequence[Point], objectives: Objectives, reference: Mapping[str, float]) -> float:
    """Volume between the points and a fixed reference point; more is better, 0 if no point beats it.

    Counts and reductions are measured in decades (log10, :data:`~prune_search.pareto.scale.LOGARITHMIC`), the
    others in their own unit. Points with a missing or non-finite value add nothing. Computed by moocore.

    Args:
        points: Metrics of one trial each.
        objectives: Metric -> direction.
        reference: Metric -> value in the metric's own unit, see :func:`default_reference`. Volumes compare
            only at the same reference.
    """
    table = scaled(points, objectives)
    corner = scaled([reference], objectives)[0]
    if not np.isfinite(corner).all():
        missing = [name for name, value in zip(objectives, corner, strict=True) if not np.isfinite(value)]
        raise UserError(f"The reference point needs a finite value for: {', '.join(missing)}.")
    table = table[np.isfinite(table).all(axis=1)]
    return float(moocore.hypervolume(table, ref=corner)) if len(table) else 0.0


def default_reference(objectives: Objectives, dense: Mapping[str, float]) -> dict[str, float]:
    """The worst that still counts, per objective (our choice): what the dense network has, at no accuracy.

    Accuracy and sparsity 0, reductions and training ratio 1; every other metric the dense network's value.

    Raises:
        UserError: If ``dense`` lacks a value that is needed.
    """
    missing = [name for name in objectives if name not in _BOUNDED and dense.get(name) is None]
    if missing:
        raise UserError(f"The reference point needs the dense network's {', '.join(missing)}.")
    return {name: float(_BOUNDED.get(name, dense.get(name) or 0.0)) for name in objectives}
