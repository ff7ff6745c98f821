"""Metrics as numbers to minimise: directions, logarithms, what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from prune_search.errors import UserError

LOGARITHMIC = frozenset({
    "params", "macs", "flops", "physical_params", "physical_macs", "params_reduction", "flops_reduction",
    "train_flops", "train_flops_spent", "size_bytes", "peak_memory_bytes",
})  # fmt: skip
"""Metrics measured in decades, so that 1000 -> 100 is worth as much as 100 -> 10 (our choice); all >= 1."""

Point = Mapping[str, float | None]
Objectives = Mapping[str, str]


def losses(points: Sequence[Point], objectives: Objectives) -> np.ndarray:
    """[points, objectives] float64, each to be minimised; NaN where a value is missing.

    Raises:
        UserError: If there is no objective, or a direction is neither ``maximize`` nor ``minimize``.
    """
    if not objectives:
        raise UserError("No objectives given. Name at least one, as in {accuracy: maximize, params: minimize}.")
    for name, direction in objectives.items():
        if direction not in ("maximize", "minimize"):
            raise UserError(f"Objective '{name}': direction '{direction}'. Allowed: maximize, minimize.")
    rows = [[_number(point.get(name)) for name in objectives] for point in points]
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in objectives.values()]
    return np.array(rows, dtype=float).reshape(len(points), len(objectives)) * signs


def scaled(points: Sequence[Point], objectives: Objectives) -> np.ndarray:
    """:func:`losses` with log10 of the :data:`LOGARITHMIC` metrics; values below 1 count as 1 there."""
    table = losses(points, objectives)
    for column, name in enumerate(objectives):
        if name in LOGARITHMIC:
            sign = -1.0 if objectives[name] == "maximize" else 1.0
            table[:, column] = sign * np.log10(np.maximum(sign * table[:, column], 1.0))
    return table


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
