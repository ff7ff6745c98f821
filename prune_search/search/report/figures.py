"""The figures of a report, from what a search has found so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prune_search.pareto import charts, figure
from prune_search.pareto.plots import pairs
from prune_search.pruning.recipe import part_names
from prune_search.search.asking.first import defaults
from prune_search.search.layers import read_layers
from prune_search.search.layout import Layout
from prune_search.search.report.importance import importances
from prune_search.search.results import Found, Record, control_of
from prune_search.search.tally import Tally
from prune_search.spec import Spec
from prune_search.training.files import read_reports

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from prune_search.search.confirm import Confirmed

CURVES = 24
"""Front members whose curves are drawn; our choice."""
SHOWN = 4
"""Sampled values that one sees of a trial when one points at it, beside its parts."""


def fronts(found: Found, spec: Spec, confirmed: Sequence[Confirmed] = ()) -> dict[str, Figure]:
    """``accuracy by params`` -> the front in these two objectives, a third as colour; the pair people look at first in front."""
    records, numbers = found.completed, {record.number for record in found.front}
    chosen = [i for i, record in enumerate(records) if record.number in numbers]
    published = [fixed for fixed in defaults(spec) if fixed.get("recipe") != "dense"]
    control = control_of(found)
    again = [
        (f"#{item.trial} {item.recipe}", {name: item.mean(name) for name in found.objectives},
         {name: item.error(name) for name in found.objectives})
        for item in confirmed
    ]  # fmt: skip
    others = [record for record in found.records if record.state != "completed" and record.report]
    if not records and not others:
        return {}
    return {
        f"{y} by {x}": figure(
            [record.metrics() for record in records],
            found.objectives,
            chosen,
            dense=control and control.metrics(),
            names=[described(record) for record in records],
            confirmed=again,
            axes=(x, y),
            presets=[i for i, record in enumerate(records) if any(_is(record, fixed) for fixed in published)],
            unfinished={
                state: [(described(record), record.metrics()) for record in others if record.state == state]
                for state in sorted({record.state for record in others})
            },
        )
        for x, y in pairs(found.objectives)
    }


def described(record: Record) -> str:
    """A trial as one sees it when one points at it: number and recipe, its parts, some sampled values."""
    lines = [f"#{record.number} {record.recipe}"]
    if record.config:
        parts = part_names(record.config["recipe"])
        lines.append(", ".join(parts[axis] for axis in ("score", "granularity", "schedule", "stopping")))
    values = [
        f"{name.rsplit('.', 1)[-1]} {value:.4g}" if isinstance(value, float) else f"{name.rsplit('.', 1)[-1]} {value}"
        for name, value in _plain(record).items()
    ]
    return "<br>".join([*lines, *values[:SHOWN]])


def history(found: Found) -> Figure | None:
    """Hypervolume over time and device time; None before anything ended."""
    ended = sorted((r for r in found.records if r.ended is not None), key=lambda record: record.ended)
    if not ended:
        return None
    tally = Tally(found.objectives)
    began = min(record.began for record in ended)
    rows = [(0.0, 0.0, 0.0)]
    for record in ended:
        tally.add(record)
        rows.append(((record.ended - began) / 3600, tally.device_seconds / 3600, tally.hypervolume))
    return charts.history(*zip(*rows, strict=True))


def shares(found: Found) -> Figure | None:
    """Which parts were tried and are on the front; None where all are alike."""
    tried = [part_names(record.config["recipe"]) for record in found.completed]
    if len({tuple(parts.values()) for parts in tried}) < 2:
        return None
    return charts.shares(tried, [part_names(record.config["recipe"]) for record in found.front])


def parallel(found: Found) -> Figure | None:
    """Completed trials through recipe, the parts and parameters that all of them have and that vary, and objectives."""
    records = found.completed
    rows = [
        {
            "recipe": r.recipe,
            **part_names(r.config["recipe"]),
            **_plain(r),
            **{k: r.metrics()[k] for k in found.objectives},
        }
        for r in records
    ]
    names = [name for name in (rows[0] if rows else ()) if all(name in row for row in rows)]
    names = [name for name in names if len({str(row[name]) for row in rows}) > 1]
    first = next(iter(found.objectives))
    if len(records) < 3 or first not in names:
        return None
    return charts.parallel([{name: row[name] for name in names} for row in rows], first)


def importance(found: Found, trials: Sequence[Any]) -> Figure | None:
    """Of completed trials; None where they are few, or nothing varies."""
    by_number = {trial.number: trial for trial in trials}
    values = importances([(by_number[record.number], record.metrics()) for record in found.completed], found.objectives)
    return charts.importances(values) if values else None


def curves(layout: Layout, found: Found) -> Figure | None:
    """Of front members, spread over the front where there are many."""
    members = found.front
    step = max(1, -(-len(members) // CURVES))
    drawn = []
    for record in members[::step]:
        reports = read_reports(layout.trial(record.number))
        if reports:
            columns = ([getattr(report, key) for report in reports] for key in ("epoch", "accuracy", "params"))
            drawn.append(charts.Curve(f"#{record.number} {record.recipe}", *columns))
    return charts.curves(drawn) if drawn else None


def layers(layout: Layout, record: Record) -> Figure | None:
    """Of one trial; None where it is not known, as before the search has ended."""
    network = read_layers(layout.trial(record.number))
    return charts.layers(network) if network else None


def _is(record: Record, fixed: dict[str, Any]) -> bool:
    """Whether a trial is a preset as it is."""
    return all(record.params.get(name) == value for name, value in fixed.items())


def _plain(record: Record) -> dict[str, Any]:
    return {name: value for name, value in record.params.items() if name != "recipe" and not str(value).startswith("{")}
