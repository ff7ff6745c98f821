"""What happens once after selection: the test split is read, the front's files and figures are logged."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_search.errors import UserError
from prune_search.export import LOADER, NETWORK
from prune_search.pareto.charts import Layer
from prune_search.search.layers import LAYERS, write_layers
from prune_search.search.layout import Layout, write_json
from prune_search.search.report.advice import advise
from prune_search.search.results import TEST_ACCURACY, Found, Record
from prune_search.tracking import Tracker
from prune_search.training.files import CHECKPOINT, patiently
from prune_search.training.remote import at_hand, push

DATA = "data.json"
MODEL = "model"
SHOWN = ("accuracy", "params", "params_reduction", "flops_reduction")


@dataclass(frozen=True)
class Tested:
    """What is looked at once, after selection.

    Args:
        accuracy: On the test split.
        layers: What is left of the network, layer by layer.
        data: What it was trained and tested on: name, root, fingerprint, shape of an input, images of each split.
        refusal: Why the network cannot be written as data; empty: its files lie in the trial's folder.
    """

    accuracy: float
    layers: tuple[Layer, ...]
    data: Mapping[str, Any]
    refusal: str = ""


def test(job: tuple[dict[str, Any], str, str | None], gpus: float) -> Tested:
    """Test a trained trial, from its checkpoint, and write its network. Runs where the resources are, as a Ray task.

    Args:
        job: (plain configuration, folder with the checkpoint, URL of its copy or None).
        gpus: Above 0 the network runs on a GPU.

    Raises:
        UserError: There is no checkpoint, or it cannot be read.
    """
    from prune_search.cost import count
    from prune_search.export.formats import write_network
    from prune_search.spec.config import TrialConfig
    from prune_search.training.data import cached_data
    from prune_search.training.evaluation import evaluate
    from prune_search.training.trial import Trial

    plain, folder, url = job
    config, device = TrialConfig.from_dict(plain), "cuda" if gpus else "cpu"
    data = cached_data(config.data, device)
    refusal = ""
    with at_hand(Path(folder), url) as here:
        if not (here / CHECKPOINT).exists():
            raise UserError(f"its checkpoint is gone from {url or folder}")
        trial = Trial(config, data, here, device=device)
        network = trial.removed().to(device)
        try:
            patiently(lambda: write_network(network, trial.example, here))
            push(here, url, NETWORK)
        except UserError as error:
            refusal = str(error)
    left, split = count(network, trial.positions).layers, data.test()
    layers = tuple(
        Layer(layer.name, math.prod(dense.shape), layer.live, dense.physical_macs, layer.macs)
        for dense, layer in zip(trial.dense.layers, left, strict=True)
    )
    about = {
        "name": data.name,
        "root": str(config.data.root),
        "fingerprint": data.fingerprint,
        "input_shape": list(data.input_shape),
        "classes": len(data.classes),
        "images": {
            "training": len(data.train.labels),
            "validation": len(data.validation.labels),
            "test": len(split.labels),
        },
    }
    return Tested(evaluate(network, data, split, trial.loss, trial.metric)[1], layers, about, refusal)


def keep(folder: Path, tested: Tested) -> None:
    """Write what was seen of a trial into its folder, when there is room."""
    patiently(lambda: write_layers(folder, tested.layers))
    patiently(lambda: write_json(folder / DATA, tested.data))


def on_cluster(
    jobs: list[tuple[dict[str, Any], str, str | None]], cpus: float, gpus: float
) -> list[Tested | UserError]:
    """:func:`test` in workers of the connected Ray cluster, as many at once as there is room for; what it returned or raised."""
    import ray

    task = ray.remote(num_cpus=cpus, num_gpus=gpus)(test)
    tests = [task.remote(job, gpus) for job in jobs]
    # It takes seconds, since Optuna's importance brings sklearn: while others work.
    importlib.import_module("prune_search.search.report.page")
    return [_answer(reference) for reference in tests]


def _answer(reference: Any) -> Tested | UserError:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            return error.cause
        raise


def log_front(tracker: Tracker, layout: Layout, found: Found) -> None:
    """Log the front: tags and files of its members, and a table and a summary on the parent."""
    members = found.front
    tracker.set_front([record.number for record in members])
    for record in members:
        folder = layout.trial(record.number)
        patiently(lambda: (folder / "config.json").write_text(json.dumps(record.config, indent=1)))
        for file in (folder / "config.json", folder / CHECKPOINT, folder / LAYERS):
            if file.exists():
                tracker.log_artifact(record.number, file)
        if record.test_accuracy is not None:
            tracker.log_metrics(record.number, {TEST_ACCURACY: record.test_accuracy}, record.report.epoch)
        if (folder / DATA).exists():
            data = json.loads((folder / DATA).read_text())
            tracker.log_data(record.number, data)
            tracker.log_data(None, data)
        files = [folder / name for name in NETWORK]
        if all(file.exists() for file in files):
            tracker.log_model(record.number, MODEL, files, LOADER, {TEST_ACCURACY, *SHOWN, *found.objectives})
    if not members:
        return
    table = [{"trial": r.number, "recipe": r.recipe, **r.metrics()} for r in members]
    tracker.log_text(None, json.dumps(table, indent=1), "front.json")
    tracker.set_tags(
        None, {"mlflow.note.content": summary(found, layout.name), "prune_search.front_size": str(len(members))}
    )
    tracker.log_metrics(None, {"hypervolume": found.hypervolume, "front_size": len(members)}, len(found.records))


def summary(found: Found, name: str) -> str:
    """What was found, as Markdown: what to export for which need, and the front as a table."""
    lines = [
        f"{len(found.records)} trials, {len(found.completed)} completed, {len(found.front)} on the front. "
        "Figures and curves: `report.html` among the artifacts.",
        "",
    ]
    for advice in advise(found):
        report = advice.record.report
        lines.append(
            f"* {', '.join(advice.needs)}: trial {advice.record.number}, {advice.record.recipe}, validation accuracy {report.accuracy:.4f}, "
            f"{report.params:,} parameters ({report.params_reduction:.1f}x fewer). `{advice.command(name)}`"
        )
    lines += ["", "| trial | recipe | validation accuracy | test accuracy | params | reduction | FLOPs reduction |"]
    lines.append("|---|---|---|---|---|---|---|")
    return "\n".join([*lines, *(_row(record) for record in found.front)])


def _row(record: Record) -> str:
    report, tested = record.report, record.test_accuracy
    return (
        f"| {record.number} | {record.recipe} | {report.accuracy:.4f} | {'' if tested is None else f'{tested:.4f}'} "
        f"| {report.params:,} | {report.params_reduction:.1f}x | {report.flops_reduction:.1f}x |"
    )
