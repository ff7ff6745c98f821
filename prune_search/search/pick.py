"""Choosing one trial of a search."""

from __future__ import annotations

from prune_search.cost.metrics import METRICS
from prune_search.errors import UserError, nearest
from prune_search.pareto import knee, pick
from prune_search.search.results import Found, Record
from prune_search.spec.conditions import parse_where


def choose(
    found: Found,
    *,
    trial: int | None = None,
    where: str | None = None,
    minimize: str | None = None,
    maximize: str | None = None,
) -> Record:
    """A completed trial by number, by rule, or the knee of the front.

    Args:
        trial: Its number.
        where: A condition such as ``accuracy >= 0.97``; with ``minimize`` or ``maximize``: a metric. Applies to all
            completed trials; ties go to the front.

    Raises:
        UserError: No trial fits; the message says what there is.
    """
    if trial is not None:
        record = found.record(trial)
        if record is None or record.report is None or record.state not in ("completed", "infeasible"):
            numbers = ", ".join(str(r.number) for r in found.completed) or "none yet"
            state = "does not exist" if record is None else f"is {record.state}"
            raise UserError(f"trial {trial} {state}. Completed trials: {numbers}.")
        return record
    front = found.front
    if not front:
        raise UserError("no completed trial is on the front yet. See `prune-search status`.")
    if where is None and minimize is None and maximize is None:
        return front[knee([record.metrics() for record in front], found.objectives)]
    if minimize and maximize:
        raise UserError("give --minimize or --maximize, not both.")
    for name in filter(None, (minimize, maximize)):
        if name not in METRICS:
            raise UserError(f"no metric is called {name!r}.{nearest(name, METRICS)} Allowed: {', '.join(METRICS)}.")
    condition = parse_where(where) if where else None
    rule = {minimize: "minimize"} if minimize else {maximize: "maximize"} if maximize else None
    completed = found.completed
    return completed[pick([r.metrics() for r in completed], found.objectives, where=condition, optimize=rule)]
