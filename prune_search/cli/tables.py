"""Tables that commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from prune_search.cli.view import number
from prune_search.search.confirm import Confirmed
from prune_search.search.results import TEST_ACCURACY, Found

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


def confirm_table(confirmed: Sequence[Confirmed], controls: Mapping[int, int], width: int) -> Table:
    """Means and standard errors over seeds; differences to the dense control in points.

    Args:
        confirmed: The rows.
        controls: Trial -> its dense control, where there is one.
        width: Columns to fill. From 100 on the cost of training is shown too; otherwise it fits 80.
    """
    rows = {item.trial: item for item in confirmed}
    costs = {"cost": "train_flops_ratio", "epochs": "epoch", "seconds": "seconds"} if width >= 100 else {}
    title = "means over new seeds ± standard errors, in %" + ("; cost: training FLOPs to dense" if costs else "")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
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
            str(item.trial),
            *([item.model] if models else []),
            item.recipe,
            runs + (f" + {len(item.failed)} failed" if item.failed else ""),
            *(f"{100 * item.mean(name):.2f}±{100 * item.error(name):.2f}" for name in ("accuracy", TEST_ACCURACY)),
            _difference(item, dense) if dense and item is not dense else "",
            f"{100 * item.mean('sparsity'):.2f}",
            number(item.mean("params")),
            *(number(round(item.mean(name), 2 if name == "train_flops_ratio" else 0)) for name in costs.values()),
        )
    return table


def _difference(item: Confirmed, dense: Confirmed) -> str:
    mean, error = item.difference(dense)
    return f"{100 * mean:+.2f}±{100 * error:.2f}"
