"""Exporting a trial of a search: from its checkpoint to a verified folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prune_search.cost import count
from prune_search.errors import UserError
from prune_search.export.card import CardInfo
from prune_search.export.network import Exported, export_network
from prune_search.export.verify import ExportError
from prune_search.spec.config import TrialConfig
from prune_search.training.data import data_of
from prune_search.training.evaluation import accuracy
from prune_search.training.files import CHECKPOINT
from prune_search.training.trial import Trial


def export_trial(
    plain: Mapping[str, object],
    folder: Path,
    *,
    out: Path,
    formats: Sequence[str],
    metrics: Mapping[str, float],
    dense: Mapping[str, float],
    search: str,
    number: int,
    trials: int,
) -> Exported:
    """Load a trial's last checkpoint, remove what can go, export and verify it.

    Args:
        plain: The trial's configuration.
        folder: Where its checkpoint is.
        out: The folder to make.
        metrics: What the trial reported; the exported network must have exactly these counts and this accuracy.
        dense: The same of the dense network, as far as known.
        search, number, trials: For the model card.

    Raises:
        UserError: The checkpoint is gone, or a format cannot be written.
        ExportError: What is exported is not what was measured.
    """
    if not (folder / CHECKPOINT).exists():
        raise UserError(
            f"trial {number} has no checkpoint in {folder}: only the front's are kept. Train it again: "
            f"prune-search rerun {search} --trial {number}"
        )
    config = TrialConfig.from_dict(plain)
    data = data_of(config.data)
    trial = Trial(config, data, folder)
    network = trial.removed().eval()
    inputs = data.inputs(data.validation.images)
    cost = count(network, trial.positions).against(trial.dense)
    _compare({**trial.reports[-1].metrics(), **cost.metrics()}, metrics)
    if config.training.metric == "accuracy" and config.training.precision != "bf16":
        _check_accuracy(network, inputs, data.validation.labels, metrics["accuracy"])
    info = CardInfo(
        model=config.model.name,
        dataset=data.name,
        classes=data.classes,
        input_shape=data.input_shape,
        mean=data.mean,
        std=data.std,
        recipe=config.recipe.values(),
        metrics=dict(metrics),
        dense=dict(dense),
        search=search,
        trial=number,
        trials=trials,
        seed=config.seed,
        layers=list(zip(trial.dense.layers, cost.layers, strict=True)),
        divide_by=255.0 if data.train.images.element_size() == 1 else 1.0,
    )
    return export_network(
        network,
        out=out,
        formats=formats,
        example_input=trial.example[:2],
        validation=(inputs, data.validation.labels),
        info=info,
    )


def _compare(saved: Mapping[str, float], reported: Mapping[str, float]) -> None:
    for name in ("accuracy", "params", "macs", "physical_params"):
        if saved[name] != reported[name]:
            raise ExportError(f"the network to export: {name} is {saved[name]}, but {reported[name]} was reported")


def _check_accuracy(network, inputs, labels, expected: float) -> None:
    import torch

    with torch.inference_mode():
        outputs = torch.cat([network(batch) for batch in inputs.split(1000)])
    measured = float(accuracy(outputs, labels))
    if abs(measured - expected) * len(labels) > 1.5:
        raise ExportError(f"after removal the validation accuracy is {measured}, but {expected} was measured")
