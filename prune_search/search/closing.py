"""What happens once after selection: the test split is read, the front's files and figures are logged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_search.pareto import figure
from prune_search.search.layout import Layout
from prune_search.search.results import TEST_ACCURACY, Found, Record, control_of
from prune_search.tracking import Tracker
from prune_search.training.files import CHECKPOINT
from prune_search.training.remote import at_hand

if TYPE_CHECKING:
    from prune_search.search.confirm import Confirmed


def test_accuracy(jobs: list[tuple[dict[str, Any], str, str | None]], gpus: float) -> list[float]:
    """Test accuracy of trained trials, from their checkpoints. Runs where the resources are, as one Ray task.

    Args:
        jobs: (plain configuration, folder with the checkpoint, URL of its copy or None) of each.
        gpus: Above 0 the networks run on a GPU.
    """
    from prune_search.spec.config import TrialConfig
    from prune_search.training.data import cached_data
    from prune_search.training.evaluation import evaluate
    from prune_search.training.trial import Trial

    values = []
    for plain, folder, url in jobs:
        config = TrialConfig.from_dict(plain)
        device = "cuda" if gpus else "cpu"
        data = cached_data(config.data, device)
        with at_hand(Path(folder), url) as here:
            trial = Trial(config, data, here, device=device)
        test = data.test()
        values.append(evaluate(trial.removed().to(device), data, test, trial.loss, trial.metric)[1])
    return values


def on_cluster(jobs: list[tuple[dict[str, Any], str, str | None]], cpus: float, gpus: float) -> list[float]:
    """:func:`test_accuracy` in a worker of the connected Ray cluster."""
    import ray

    if not jobs:
        return []
    return ray.get(ray.remote(num_cpus=cpus, num_gpus=gpus)(test_accuracy).remote(jobs, gpus))


def log_front(tracker: Tracker, layout: Layout, found: Found) -> None:
    """Log the front: tags and files of its members, and a figure, a table and a summary on the parent."""
    members = found.front
    tracker.set_front([record.number for record in members])
    for record in members:
        folder = layout.trial(record.number)
        (folder / "config.json").write_text(json.dumps(record.config, indent=1))
        for file in (folder / "config.json", folder / CHECKPOINT):
            tracker.log_artifact(record.number, file)
        if record.test_accuracy is not None:
            tracker.log_metrics(record.number, {TEST_ACCURACY: record.test_accuracy}, record.report.epoch)
    if not members:
        return
    table = [{"trial": r.number, "recipe": r.recipe, **r.metrics()} for r in members]
    tracker.log_text(None, json.dumps(table, indent=1), "front.json")
    if len(found.objectives) > 1:
        page = layout.folder / "front.html"
        draw(found).write_html(page, include_plotlyjs=True)
        tracker.log_artifact(None, page)
    tracker.set_tags(None, {"mlflow.note.content": summary(found), "prune_search.front_size": str(len(members))})
    tracker.log_metrics(None, {"hypervolume": found.hypervolume, "front_size": len(members)}, len(found.records))


def draw(found: Found, confirmed: Sequence[Confirmed] = ()) -> Any:
    """The front as a plotly figure, and what it was on new seeds; completed trials off the front are quiet points."""
    records, numbers = found.completed, {record.number for record in found.front}
    chosen = [i for i, record in enumerate(records) if record.number in numbers]
    names = [f"#{record.number} {record.recipe}" for record in records]
    points = [record.metrics() for record in records]
    control = control_of(found)
    again = [
        (
            f"#{item.trial} {item.recipe}",
            {name: item.mean(name) for name in found.objectives},
            {name: item.error(name) for name in found.objectives},
        )
        for item in confirmed
    ]
    dense = control and control.metrics()
    return figure(points, found.objectives, chosen, dense=dense, names=names, confirmed=again)


def summary(found: Found) -> str:
    """The front as a Markdown table."""
    lines = ["| trial | recipe | validation accuracy | test accuracy | params | reduction | FLOPs reduction |"]
    lines.append("|---|---|---|---|---|---|---|")
    lines += [_row(record) for record in found.front]
    return "\n".join(lines)


def _row(record: Record) -> str:
    report, tested = record.report, record.test_accuracy
    return (
        f"| {record.number} | {record.recipe} | {report.accuracy:.4f} | {'' if tested is None else f'{tested:.4f}'} "
        f"| {report.params:,} | {report.params_reduction:.1f}x | {report.flops_reduction:.1f}x |"
    )
