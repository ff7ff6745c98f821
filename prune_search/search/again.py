"""A trial trained a second time: whether it comes out the same, and its weights where they are no longer kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prune_search.cost.metrics import MEASURED, Report
from prune_search.search import execution, kept
from prune_search.search.environment import code, versions
from prune_search.search.jobs import Ended, Job, NoMore
from prune_search.search.layout import Layout
from prune_search.search.mlflow import local_weights, tracking_uri
from prune_search.search.results import Record
from prune_search.spec import Spec
from prune_search.training.files import CHECKPOINT, read_reports
from prune_search.training.remote import pull, remove

OF_THE_MACHINE = ("seconds", "device_seconds", "train_flops_spent", *MEASURED)
"""Metrics that another run of the same trial may well have otherwise."""


@dataclass(frozen=True)
class Difference:
    """A metric of an epoch that came out otherwise; None: that run has no such epoch or no such metric."""

    epoch: int
    name: str
    then: float | None
    now: float | None


@dataclass(frozen=True)
class Again:
    """A trial and its second run.

    Attributes:
        trial: Its number.
        ended: How the second run ended; a trial that a rule had stopped is stopped after the same epoch.
        epochs: How many the second run reported.
        reason: Why a trial without any report had failed; empty for others.
        differences: What came out otherwise, in the order of epochs.
        versions: Packages whose version, and code of the user's whose commit or digest has changed since the search was
            started: then, now.
    """

    trial: int
    ended: Ended
    epochs: int
    reason: str
    differences: tuple[Difference, ...]
    versions: Mapping[str, tuple[str, str]]

    @property
    def matched(self) -> bool:
        """Whether all metrics of all epochs are the same numbers, but those of the machine (:data:`OF_THE_MACHINE`)."""
        return not self.differences and (not self.reason or self.reason == self.ended.reason)


def rerun(
    spec: Spec, layout: Layout, record: Record, *, address: str | None = None, reported: Callable[[Report], None]
) -> Again:
    """Train a trial that has ended once more, from its first epoch, with its own seed; nothing is taken over from others.

    If all is the same and the trial's checkpoint is gone, that of the second run takes its place.

    Args:
        reported: Called with each report.
    """
    kept.claim(layout, spec)
    folder = layout.again(record.number)
    url = layout.remote(spec.resources.storage, folder)
    shutil.rmtree(folder, ignore_errors=True)
    remove(url)
    before = read_reports(layout.trial(record.number))
    job = Job(record.number, record.config, folder, f"#{record.number:03d} {record.recipe}, again", remote=url)
    source = _Once(job, len(before) if record.state == "stopped" else None, reported)
    threads, roots = spec.resources.threads, [*map(str, spec.roots)]
    with execution.connected(address, threads, roots, spec.own_modules()):
        share, _ = execution.resources(spec.resources, address)
        execution.execute(
            source,
            storage=layout.folder / "ray-again",
            share=share,
            concurrency=1,
            measure=(),
            stop=lambda: False,
            prepare=local_weights(tracking_uri(layout, spec)),
        )
    origin = json.loads(layout.origin.read_text())
    started = {**origin["versions"], **origin.get("code", {})}
    packages = [name for name in origin["versions"] if name != "python"]
    now = {**versions(*packages), **code(Path(origin["roots"][0]), spec.own_modules())}
    again = Again(
        record.number,
        source.ended,
        len(source.reports),
        "" if before else record.reason,
        tuple(_differences(before, source.reports)),
        {name: (was, now.get(name, "gone")) for name, was in started.items() if was != now.get(name)},
    )
    if again.matched:
        _keep(folder, url, layout, record.number)
    return again


def _keep(folder: Path, url: str | None, layout: Layout, number: int) -> None:
    trial = layout.trial(number)
    pull(url, folder, (CHECKPOINT,))
    if (folder / CHECKPOINT).exists() and not (trial / CHECKPOINT).exists():
        os.replace(folder / CHECKPOINT, trial / CHECKPOINT)
    shutil.rmtree(folder, ignore_errors=True)
    remove(url)


def _differences(before: list[Report], after: list[Report]) -> list[Difference]:
    found = []
    for index in range(max(len(before), len(after))):
        then, now = ({} if index >= len(reports) else reports[index].metrics() for reports in (before, after))
        for name in dict.fromkeys([*then, *now]):
            # as JSON, since NaN is not equal to itself
            if name not in OF_THE_MACHINE and json.dumps(then.get(name)) != json.dumps(now.get(name)):
                found.append(Difference(index + 1, name, then.get(name), now.get(name)))
    return found


class _Once:
    """A source of one job, stopped after ``epochs`` if given."""

    def __init__(self, job: Job, epochs: int | None, reported: Callable[[Report], None]):
        self._job: Job | None = job
        self._epochs, self._reported = epochs, reported
        self.reports: list[Report] = []
        self.ended = Ended("failed", "worker_died", None)

    def next(self) -> Job | NoMore:
        job, self._job = self._job, None
        return job or NoMore()

    def report(self, job: Job, report: Report) -> None:
        if len(self.reports) < report.epoch:
            self.reports.append(report)
            self._reported(report)

    def judge(self, job: Job, report: Report) -> str | None:
        return "where it was stopped" if report.epoch == self._epochs else None

    def end(self, job: Job, ended: Ended) -> None:
        self.ended = ended
