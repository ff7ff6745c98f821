"""The report of a search: one HTML file that needs no network and no package, made at any time."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage

from prune_search.cost.metrics import METRICS
from prune_search.errors import UserError
from prune_search.search.layout import Layout
from prune_search.search.pick import choose
from prune_search.search.report import figures
from prune_search.search.report.advice import advise, caveats
from prune_search.search.results import TEST_ACCURACY, Found, Record, found_in
from prune_search.search.storage import open_storage
from prune_search.spec import Spec
from prune_search.tracking import redacted

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from prune_search.search.confirm import Confirmed

REPORT = "report.html"
TEMPLATE = "page.html.jinja"
COSTS = (
    "params params_reduction macs flops_reduction physical_params physical_macs size_bytes latency_ms train_flops_ratio"
    " epoch device_seconds"
).split()


def write_report(
    layout: Layout,
    spec: Spec,
    *,
    storage: BaseStorage | None = None,
    confirmed: Sequence[Confirmed] = (),
    path: Path | None = None,
    images: Path | None = None,
) -> Path:
    """Write the report of what a search has found so far.

    Args:
        storage: Of the study, where it is open already.
        confirmed: What was trained again with new seeds.
        path: The file. Default: ``report.html`` in the search's folder.
        images: A folder for each figure as PNG and SVG; made if missing. Needs kaleido and a Chrome or Chromium.

    Returns:
        The file.

    Raises:
        UserError: Images cannot be drawn.
    """
    storage = storage or open_storage(layout, spec.search.storage)
    study = optuna.load_study(study_name=layout.name, storage=storage)
    found, trials = found_in(study, spec), study.get_trials(deepcopy=False)
    drawn = _drawn(layout, spec, found, trials, confirmed)
    path = path or layout.folder / REPORT
    path.write_text(_page(layout, spec, found, confirmed, drawn))
    if images is not None:
        _write_images({f"{room}-{name}": fig for room, each in drawn.items() for name, fig in each.items()}, images)
    return path


def _drawn(
    layout: Layout, spec: Spec, found: Found, trials: Sequence[Any], confirmed: Sequence[Confirmed]
) -> dict[str, dict[str, Figure]]:
    """Section -> name of a view -> figure; sections without any are left out."""
    chosen = {record.number: record for record in [advice.record for advice in advise(found)]}
    drawn = {
        "front": figures.fronts(found, spec, confirmed) if len(found.objectives) > 1 else {},
        "history": {"history": figures.history(found)},
        "shares": {"shares": figures.shares(found)},
        "parallel": {"parallel": figures.parallel(found)},
        "importance": {"importance": figures.importance(found, trials)},
        "curves": {"curves": figures.curves(layout, found)},
        "layers": {f"#{number} {record.recipe}": figures.layers(layout, record) for number, record in chosen.items()},
    }
    kept = {room: {name: fig for name, fig in views.items() if fig is not None} for room, views in drawn.items()}
    return {room: views for room, views in kept.items() if views}


def _page(
    layout: Layout, spec: Spec, found: Found, confirmed: Sequence[Confirmed], drawn: dict[str, dict[str, Figure]]
) -> str:
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    plain = {room: {name: json.loads(fig.to_json()) for name, fig in views.items()} for room, views in drawn.items()}
    states = [record.state for record in found.records]
    return environment.get_template(TEMPLATE).render(
        name=layout.name,
        made=time.strftime("%Y-%m-%d %H:%M"),
        running=layout.driven() and "running" in states,
        objectives=[f"{name} ({direction})" for name, direction in found.objectives.items()],
        counts={state: states.count(state) for state in dict.fromkeys(states)},
        hypervolume=found.hypervolume,
        advice=[
            {
                "needs": advice.needs,
                "record": advice.record,
                "does": _does(advice.record),
                "command": advice.command(layout.name),
            }
            for advice in advise(found)
        ],
        caveats=caveats(found, layout.name, len(confirmed)),
        front=_rows(found),
        confirmed=[_again(item) for item in confirmed],
        views={room: list(views) for room, views in drawn.items()},
        space=redacted(layout.space.read_text()),
        plotly=_packed(get_plotlyjs()),
        figures=_packed(json.dumps(plain)),
    )


def _does(record: Record) -> str:
    report = record.report
    test = "" if record.test_accuracy is None else f", {100 * record.test_accuracy:.2f} % on the test split"
    return (
        f"{100 * report.accuracy:.2f} % on the validation split{test}, {report.params:,} parameters ({report.params_reduction:.1f}x fewer than dense), "
        f"{report.macs:,} multiply-accumulates ({report.flops_reduction:.1f}x); dense kernels pay {report.physical_macs:,}"
    )


def _rows(found: Found) -> dict[str, Any]:
    """The table of the front: headings with their meaning, and a row for each member; the knee is marked."""
    members = [(record, record.metrics()) for record in found.front]
    wanted = ["accuracy", TEST_ACCURACY, *(name for name in found.objectives if name != "accuracy"), *COSTS]
    names = [name for name in dict.fromkeys(wanted) if any(metrics.get(name) is not None for _, metrics in members)]
    try:
        knee = choose(found).number
    except UserError:
        knee = None
    return {
        "headings": [(name, f"{METRICS[name].meaning} ({METRICS[name].unit})") for name in names],
        "rows": [
            {"number": record.number, "recipe": record.recipe, "knee": record.number == knee,
             "cells": [(metrics.get(name), _cell(name, metrics.get(name))) for name in names]}
            for record, metrics in members
        ],
    }  # fmt: skip


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if METRICS[name].unit.startswith("share in"):
        return f"{100 * value:.2f} %"
    if name.endswith("_reduction"):
        return f"{value:.1f}x"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _again(item: Confirmed) -> dict[str, Any]:
    def both(name: str, scale: float, form: str) -> str:
        return f"{format(scale * item.mean(name), form)} ± {format(scale * item.error(name), '.2g')}"

    return {
        "trial": item.trial,
        "recipe": item.recipe,
        "seeds": len(item.values.get("accuracy", ())),
        "failed": len(item.failed),
        "accuracy": both("accuracy", 100, ".2f"),
        "test": both(TEST_ACCURACY, 100, ".2f"),
        "params": both("params", 1, ",.0f"),
        "macs": both("macs", 1, ",.0f"),
    }


def _packed(text: str) -> str:
    """gzip, then base64: a browser unpacks it by itself, and plotly's script takes less than half of its size."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _write_images(drawn: dict[str, Figure], folder: Path) -> None:
    try:
        import kaleido  # noqa: F401
    except ImportError:
        raise UserError(
            "--images needs kaleido, which is not installed. Type: pip install 'prune-search[images]'"
        ) from None
    from plotly.io import write_images

    folder.mkdir(parents=True, exist_ok=True)
    stems = [folder / "".join(c if c.isalnum() else "-" for c in name).strip("-") for name in drawn]
    try:
        for kind, scale in (("png", 2), ("svg", 1)):
            files = [stem.with_suffix(f".{kind}") for stem in stems]
            write_images(list(drawn.values()), files, width=900, scale=scale)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"--images: no figure could be drawn: {reason} A Chrome or Chromium must be installed; "
            "BROWSER_PATH=/path/to/chromium says where it is."
        ) from None
