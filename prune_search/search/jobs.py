"""What the search hands to its workers, and what comes back: the same for a search and for a confirmation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from prune_search.cost.metrics import Report


@dataclass(frozen=True)
class Job:
    """One configuration to train.

    Attributes:
        number: Trial number (in a confirmation: a running number).
        config: The sampled configuration as plain values.
        params: Sampled values by name, as shown in MLflow.
        folder: Where the trial keeps checkpoint and reports.
        name: For people, such as ``#007 dyprune``.
        remote: URL of the folder's copy, where ``resources.storage`` is set.
    """

    number: int
    config: dict[str, Any]
    folder: Path
    name: str
    params: dict[str, Any] = field(default_factory=dict)
    remote: str | None = None


@dataclass(frozen=True)
class Ended:
    """How a job ended: a state of :data:`prune_search.training.outcomes.STATES`, why, and its last report.

    ``rounds`` says after which epochs an event came and why the round ended there: ``3: dense; 5: flow plateau``.
    """

    state: str
    reason: str
    report: Report | None
    rounds: str = ""


class Wait:
    """No job now: ask again later."""


class NoMore:
    """No job ever again."""


class Source(Protocol):
    """Where jobs come from and results go."""

    def next(self) -> Job | Wait | NoMore:
        """The next job."""

    def report(self, job: Job, report: Report) -> None:
        """An epoch of a job was reported."""

    def judge(self, job: Job, report: Report) -> str | None:
        """Why a running job shall stop after this report, asked before :meth:`report`; None: it goes on."""

    def end(self, job: Job, ended: Ended) -> None:
        """A job ended; called once for each job that ended in this process."""
