"""Reading a search: its trials, its front, where it stands. Any process may do this while the search runs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from prune_search.cost.metrics import Report
from prune_search.errors import BAD_INPUT, UserError
from prune_search.pareto import default_reference, front, hypervolume
from prune_search.search.asking.asker import CONFIG
from prune_search.search.layout import Layout
from prune_search.search.source import BEGUN, ended_of, recipe_name
from prune_search.search.storage import open_storage
from prune_search.spec import Spec

TEST_ACCURACY = "test_accuracy"


@dataclass(frozen=True)
class Record:
    """A trial of a search.

    Attributes:
        number: Its number in the study.
        state: running, completed, stopped, failed, infeasible.
        reason: Why it ended so; empty while it runs.
        report: Its last report; None without any.
        config: The sampled configuration, plain; empty if the driver died while it was asked.
        params: Sampled values by name.
        test_accuracy: On the test split, for trials of the front after selection.
        began, ended: Seconds since 1970; None where they are not known, or it has not ended.
    """

    number: int
    state: str
    reason: str
    report: Report | None
    config: dict[str, Any]
    params: dict[str, Any]
    test_accuracy: float | None = None
    began: float | None = None
    ended: float | None = None

    @property
    def model(self) -> str:
        model = self.config.get("model", "?")
        return model if isinstance(model, str) else model["name"]

    @property
    def recipe(self) -> str:
        return recipe_name(self.config, self.params) if self.config else "?"

    @property
    def mistaken(self) -> bool:
        """Whether it failed by a mistake of the user's."""
        return self.reason.startswith(f"{BAD_INPUT}: ")

    def metrics(self) -> dict[str, float]:
        values = self.report.metrics() if self.report else {}
        return values if self.test_accuracy is None else {**values, TEST_ACCURACY: self.test_accuracy}


@dataclass(frozen=True)
class Found:
    """All that a search has found so far."""

    objectives: dict[str, str]
    records: tuple[Record, ...]

    @property
    def mistake(self) -> str:
        """What keeps every trial from beginning: the last one's message; empty if one began, or failed by itself."""
        records = [record for record in self.records if record.state != "running"]
        if not records or any(record.report or not record.mistaken for record in records):
            return ""
        return records[-1].reason.removeprefix(f"{BAD_INPUT}: ")

    @property
    def completed(self) -> list[Record]:
        return [record for record in self.records if record.state == "completed"]

    @property
    def front(self) -> list[Record]:
        """Non-dominated, feasible, completed trials, the most accurate first."""
        completed = self.completed
        chosen = [completed[i] for i in front([r.metrics() for r in completed], self.objectives)]
        first, direction = next(iter(self.objectives.items()))
        return sorted(chosen, key=lambda r: r.metrics()[first], reverse=direction == "maximize")

    @property
    def dense(self) -> dict[str, float]:
        """What the dense network costs, in the metrics of a Report; empty before the first report."""
        return next((dense_metrics(r.report) for r in self.records if r.report and tells_dense(r.report)), {})

    @property
    def hypervolume(self) -> float:
        """Hypervolume of the front against the fixed reference point of :func:`default_reference`.

        NaN where there is no such point: reports tell nothing of the dense network's loss, latency, size or seconds.
        """
        points = [record.metrics() for record in self.front]
        if not points:
            return 0.0
        try:
            reference = default_reference(self.objectives, self.dense)
        except UserError:
            return math.nan
        return hypervolume(points, self.objectives, reference)

    def record(self, number: int) -> Record | None:
        return next((record for record in self.records if record.number == number), None)


def control_of(found: Found, like: Record | None = None) -> Record | None:
    """The dense control of a search: its most accurate completed trial without an event, on the data and model of
    ``like`` where given.
    """
    dense = [r for r in found.completed if r.reason == "no_event" and recipe_name(r.config, {}) == "dense"]
    if like is not None:
        dense = [r for r in dense if all(r.config.get(key) == like.config.get(key) for key in ("data", "model"))]
    return max(dense, key=lambda record: record.report.accuracy, default=None)


def tells_dense(report: Report) -> bool:
    """Whether the dense network's cost can be had from a report: not if nothing is left of the pruned one's."""
    return math.isfinite(report.params_reduction) and math.isfinite(report.flops_reduction)


def dense_metrics(report: Report) -> dict[str, float]:
    """The cost of the dense network, from a report (:func:`tells_dense`) of a trial that started from it."""
    params, flops = round(report.params * report.params_reduction), round(report.flops * report.flops_reduction)
    dense = {
        "params": params,
        "physical_params": params,
        "flops": flops,
        "macs": flops // 2,
        "physical_macs": flops // 2,
    }
    train = report.train_flops / report.train_flops_ratio if report.train_flops_ratio else 0.0
    return {**dense, "train_flops": train, "train_flops_spent": train}


def records_of(trials: Sequence[FrozenTrial], tested: dict[str, float]) -> tuple[Record, ...]:
    """The trials of a study that have begun as records, in order."""
    return tuple(_record(t, tested.get(str(t.number))) for t in trials if BEGUN in t.user_attrs)


def _record(trial: FrozenTrial, tested: float | None) -> Record:
    ended = ended_of(trial)
    state = ended.state if ended else ("running" if trial.state is TrialState.RUNNING else "failed")
    config = json.loads(trial.user_attrs.get(CONFIG, "{}"))
    report = ended.report if ended else None
    times = [time and time.timestamp() for time in (trial.datetime_start, trial.datetime_complete)]
    return Record(
        trial.number, state, ended.reason if ended else "", report, config, dict(trial.params), tested, *times
    )


def read(layout: Layout, spec: Spec, storage: BaseStorage | None = None) -> Found:
    """What the study of a search holds now."""
    storage = storage or open_storage(layout, spec.search.storage)
    return found_in(optuna.load_study(study_name=layout.name, storage=storage), spec)


def found_in(study: optuna.Study, spec: Spec) -> Found:
    """What a study holds now."""
    tested = study.user_attrs.get(TEST_ACCURACY, {})
    return Found(dict(spec.objectives), records_of(study.get_trials(deepcopy=False), tested))
