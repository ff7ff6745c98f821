"""A search in MLflow: the names of its tags and states, and its runs as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

ROLE = "prune_search.role"
SEARCH = "prune_search.search"
TRIAL = "prune_search.trial"
STATE = "prune_search.state"
REASON = "prune_search.reason"
ROUNDS = "prune_search.rounds"
FRONT = "prune_search.front"
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"

STATUS = {
    "completed": "FINISHED",
    "stopped": "FINISHED",
    "infeasible": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
"""How a trial ended -> the status of its MLflow run."""

ENDED = ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True)
class RunInfo:
    """What MLflow has of one trial.

    Attributes:
        run_id: MLflow's id of the run.
        status: MLflow's status: RUNNING, FINISHED, FAILED or KILLED.
        state: One of :data:`STATUS`; None while the trial runs.
        last_epoch: The last epoch with a logged report; None before the first.
    """

    run_id: str
    status: str
    state: str | None
    last_epoch: int | None


@dataclass(frozen=True)
class Row:
    """Metrics of one moment. ``report``: those of an epoch, written once; ``time``: ms since 1970."""

    step: int
    metrics: Mapping[str, float]
    time: int
    report: bool = False


@dataclass(frozen=True)
class Wanted:
    """A run as it should exist; kept, so that one that could not be created then can be created later."""

    name: str
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    time: int


@dataclass
class Run:
    """What the writer knows of a run without asking: ``params`` are the names of those it has."""

    run_id: str
    state: str | None = None
    last_epoch: int | None = None
    front: str | None = None
    params: set[str] = field(default_factory=set)


def by_number(runs: Iterable[Any]) -> dict[int | None, Any]:
    """MLflow runs by trial number, the oldest of equals; the search's own under None."""
    found: dict[int | None, Any] = {}
    for run in runs:
        tags = run.data.tags
        if tags.get(ROLE) == "search":
            found.setdefault(None, run)
        elif tags.get(TRIAL, "").isdigit():
            found.setdefault(int(tags[TRIAL]), run)
    return found


def as_run(run: Any) -> Run:
    """What an MLflow run tells the writer."""
    tags = run.data.tags
    return Run(run.info.run_id, tags.get(STATE), last_epoch(run), tags.get(FRONT), set(run.data.params))


def last_epoch(run: Any) -> int | None:
    """The last epoch that an MLflow run has a report of."""
    epoch = run.data.metrics.get("epoch")
    return None if epoch is None else int(epoch)
