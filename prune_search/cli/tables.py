"""Tables that commands print."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from prune_search.search.confirm import Confirmed, beaten
from prune_search.search.results import TEST_ACCURACY, Found
from prune_search.search.view import number

if TYPE_CHECKING:
    from prune_search.search.simulation.compare import Comparison

COLUMNS = {
    "accuracy": "valid.",
    TEST_ACCURACY: "test",
    "params": "params",
    "params_reduction": "fewer",
    "flops_reduction": "FLOPs",
    "sparsity": "sparse",
}


def front_table(found: Found) -> Table:
    """The front, best first objective on top. On a narrow terminal names are folded, figures never cut off."""
    extra = {name: name.replace("_", "\n") for name in found.objectives if name not in (*COLUMNS, "flops")}
    columns = {**COLUMNS, **extra}
    title = f"front: {len(found.front)} of {len(found.completed)} completed trials (accuracy: validation, test)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    models = len({record.model for record in found.front}) > 1
    table.add_column("trial", justify="right", no_wrap=True)
    for heading in ("model", "recipe") if models else ("recipe",):
        table.add_column(heading, overflow="fold")
    for heading in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for record in found.front:
        metrics = record.metrics()
        names = [record.model, record.recipe] if models else [record.recipe]
        table.add_row(str(record.number), *names, *(_cell(name, metrics.get(name)) for name in columns))
    return table


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name.endswith("_reduction"):
        return f"{value:.1f}x"
    return f"{value:.4f}" if name in ("accuracy", TEST_ACCURACY, "sparsity") else number(value)


def confirm_table(
    confirmed: Sequence[Confirmed], controls: Mapping[int, int], width: int, objectives: Mapping[str, str]
) -> Table:
    """Means and standard errors over seeds; differences to the dense control in points.

    Args:
        confirmed: The rows.
        controls: Trial -> its dense control, where there is one.
        width: Columns to fill. From 100 on the cost of training is shown too; otherwise it fits 80.
        objectives: Of the search; a trial that another one beats in all of them for sure is marked.
    """
    rows = {item.trial: item for item in confirmed}
    costs = {"cost": "train_flops_ratio", "epochs": "epoch", "seconds": "seconds"} if width >= 100 else {}
    title = "means over new seeds ± standard errors, in %" + ("; cost: training FLOPs to dense" if costs else "")
    rivals = beaten(confirmed, objectives)
    caption = (
        "* beaten: another one is better in all objectives, beyond both 95 % confidence regions" if rivals else None
    )
    table = Table(
        title=title, title_justify="left", caption=caption, caption_justify="left", box=SIMPLE_HEAD, padding=0
    )
    models = len({item.model for item in confirmed}) > 1
    columns = [
        "trial",
        *(["model"] if models else []),
        "recipe",
        "runs",
        "valid.",
        "test",
        "to dense",
        "sparse",
        "params",
    ]
    for column in (*columns, *costs):
        table.add_column(column, justify="left" if column in ("model", "recipe") else "right")
    for item in confirmed:
        runs = str(len(item.values.get("accuracy", ())))
        dense = rows.get(controls.get(item.trial))
        table.add_row(
            f"{item.trial}{'*' if item.trial in rivals else ''}",
            *([item.model] if models else []),
            item.recipe,
            runs + (f" + {len(item.failed)} failed" if item.failed else ""),
            *(_percent(item.mean(name), item.error(name)) for name in ("accuracy", TEST_ACCURACY)),
            _difference(item, dense) if dense and item is not dense else "",
            f"{100 * item.mean('sparsity'):.2f}",
            number(item.mean("params")),
            *(number(round(item.mean(name), 2 if name == "train_flops_ratio" else 0)) for name in costs.values()),
        )
    return table


def _difference(item: Confirmed, dense: Confirmed) -> str:
    return _percent(*item.difference(dense), sign="+")


def _percent(mean: float, error: float, sign: str = "") -> str:
    """``error`` is NaN with fewer than two runs: there is no spread to show."""
    return f"{100 * mean:{sign}.2f}" + ("" if math.isnan(error) else f"±{100 * error:.2f}")


def simulation_table(comparison: Comparison) -> Table:
    """Final hypervolumes, and how much of the others' device time the first strategy needs."""
    plain = comparison.plain()
    first = next(iter(plain["strategies"]))
    seeds = len(plain["strategies"][first]["final"])
    title = (
        f"{plain['budget_device_hours']:.2f} device hours on {plain['workers']} workers, simulated; medians of {seeds} seeds.\n"
        f"time: of {first} to the final hypervolume of the other, over the other's (quartiles)"
    )
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    table.add_column("strategy", overflow="fold")
    states = [
        state
        for state in ("completed", "stopped", "infeasible", "failed")
        if any(row["trials"].get(state) for row in plain["strategies"].values())
    ]
    for heading in ("hypervolume", *states, "time", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in plain["strategies"].items():
        trials = [f"{row['trials'].get(state, 0):.0f}" for state in states]
        cells = [f"{statistics.median(row['final']):.4f}", *trials]
        if name != first:
            ratio = plain["device_hours_ratio"][name]
            low, high = plain["device_hours_ratio_quartiles"][name]
            cells += [f"{_ratio(ratio)} ({_ratio(low)} to {_ratio(high)})", f"{plain['wilcoxon_p'][name]:.2g}"]
        table.add_row(name, *cells)
    return table


def _ratio(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f}"
