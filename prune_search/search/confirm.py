"""Front members trained again with new seeds: how much of a result was luck."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_search.cost.metrics import Report
from prune_search.errors import UserError
from prune_search.search import closing, execution, kept
from prune_search.search.jobs import Ended, Job, NoMore
from prune_search.search.layout import Layout, write_json
from prune_search.search.mlflow import local_weights, open_tracker, tracking_uri
from prune_search.search.results import TEST_ACCURACY, Record
from prune_search.spec import Spec
from prune_search.training.files import CHECKPOINT

RESULT = "result.json"
CONFIRMED = "confirm.json"
FIRST_SEED = 1000


@dataclass(frozen=True)
class Confirmed:
    """A configuration on several new seeds.

    Attributes:
        trial: The trial that was repeated. model, recipe: What it trained; the preset's name.
        failed: Why runs failed, one entry each; they are in none of the figures.
        values: The metrics of the runs' last reports, test accuracy among them, one value for each seed.
    """

    trial: int
    model: str
    recipe: str
    failed: tuple[str, ...]
    values: dict[str, tuple[float, ...]]

    def mean(self, name: str) -> float:
        values = self.values.get(name, ())
        return statistics.fmean(values) if values else math.nan

    def error(self, name: str) -> float:
        """Standard error of the mean; NaN with fewer than two runs."""
        values = self.values.get(name, ())
        return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan

    def region(self, name: str) -> tuple[float, float]:
        """95 % confidence interval of the mean (Student's t); NaN with fewer than two runs."""
        values = self.values.get(name, ())
        if len(values) < 2:
            return math.nan, math.nan
        from scipy.stats import t as student

        half = float(student.ppf(0.975, len(values) - 1)) * self.error(name)
        return self.mean(name) - half, self.mean(name) + half

    def difference(self, control: Confirmed, name: str = TEST_ACCURACY) -> tuple[float, float]:
        """Mean difference to a control and its standard error (independent runs)."""
        return self.mean(name) - control.mean(name), math.hypot(self.error(name), control.error(name))

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Confirmed:
        """From :meth:`plain`."""
        values = {name: tuple(values) for name, values in plain["runs"].items()}
        return cls(plain["trial"], plain["model"], plain["recipe"], tuple(plain["failed"]), values)

    def plain(self) -> dict[str, Any]:
        figures = {name: {"mean": self.mean(name), "standard_error": self.error(name)} for name in self.values}
        runs = {name: list(values) for name, values in self.values.items()}
        return {
            "trial": self.trial,
            "model": self.model,
            "recipe": self.recipe,
            "failed": list(self.failed),
            "figures": figures,
            "runs": runs,
        }


def confirm(
    spec: Spec,
    layout: Layout,
    records: Sequence[Record],
    seeds: int,
    *,
    address: str | None = None,
    done: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
) -> list[Confirmed]:
    """Train each record's configuration with ``seeds`` new training seeds (1000, 1001, ...); the splits stay.

    Runs that an earlier call finished are not repeated, unless they were not tested and their checkpoint is gone. Test
    accuracy is read once for each run, at the end.

    Args:
        done: Called with a line when a run has ended.
    """
    kept.claim(layout, spec)
    source = _Runs(layout, records, seeds, done, spec.resources.storage)
    threads, roots = spec.resources.threads, [*map(str, spec.roots)]
    with execution.connected(address, threads, roots, spec.own_modules()):
        share, slots = execution.resources(spec.resources, address)
        slots = slots if spec.search.concurrency == "auto" else spec.search.concurrency
        options = {"share": share, "concurrency": slots, "measure": (), "stop": stop}
        options["prepare"] = local_weights(tracking_uri(layout, spec))
        if source.waiting:
            execution.execute(source, storage=layout.folder / "ray-confirm", **options)
        _test(source.all, share, done)
    confirmed = [_gather(layout, record, seeds) for record in records]
    write_json(layout.folder / CONFIRMED, plain_of(confirmed, spec.objectives))
    _track(spec, layout, confirmed, seeds)
    return confirmed


def confirmed_of(layout: Layout) -> list[Confirmed]:
    """What :func:`confirm` last found; nothing if it never ran."""
    path = layout.folder / CONFIRMED
    return [Confirmed.of(plain) for plain in json.loads(path.read_text())] if path.exists() else []


def plain_of(confirmed: Sequence[Confirmed], objectives: Mapping[str, str]) -> list[dict[str, Any]]:
    """As JSON: figures, runs, and who beats each for sure."""
    rivals = beaten(confirmed, objectives)
    return [{**item.plain(), "beaten_by": rivals.get(item.trial)} for item in confirmed]


def beaten(confirmed: Sequence[Confirmed], objectives: Mapping[str, str]) -> dict[int, int]:
    """Trial -> another one that is better for sure: the worst end of its confidence region is nowhere worse, and
    somewhere better, than the best end of the trial's.
    """
    ends = {}
    for item in confirmed:
        regions = [item.region(name) for name in objectives]
        signs = [-1.0 if direction == "maximize" else 1.0 for direction in objectives.values()]
        turned = [sorted((sign * low, sign * high)) for sign, (low, high) in zip(signs, regions, strict=True)]
        if all(math.isfinite(value) for region in turned for value in region):
            ends[item.trial] = tuple(zip(*turned, strict=True))
    return {
        trial: next(iter(better))
        for trial, (best, _) in ends.items()
        if (better := [other for other, (_, worst) in ends.items() if other != trial and _dominates(worst, best)])
    }


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


class _Runs:
    """A source of jobs: every record on every seed, those without a result yet; the longest first, so that none ends alone."""

    def __init__(
        self,
        layout: Layout,
        records: Sequence[Record],
        seeds: int,
        done: Callable[[str], None],
        storage: str | None,
    ):
        self.all: list[Job] = []
        seconds: dict[int, float] = {}
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            for record in records:
                folder = layout.confirmed(record.number, seed)
                name = f"#{record.number:03d} {record.recipe}, seed {seed}"
                seconds[len(self.all)] = record.report.device_seconds
                config, url = {**record.config, "seed": seed}, layout.remote(storage, folder)
                self.all.append(Job(len(self.all), config, folder, name, remote=url))
        self.waiting = [job for job in self.all if not _trained(job)]
        self.waiting.sort(key=lambda job: -seconds[job.number])
        self._done = done

    def next(self) -> Job | NoMore:
        return self.waiting.pop(0) if self.waiting else NoMore()

    def report(self, job: Job, report: Report) -> None:
        """Reports are kept by the trial in its folder."""

    def judge(self, job: Job, report: Report) -> None:
        """Nobody is stopped."""

    def end(self, job: Job, ended: Ended) -> None:
        job.folder.mkdir(parents=True, exist_ok=True)
        metrics = ended.report.metrics() if ended.report else {}
        result = {"state": ended.state, "reason": ended.reason, "config": job.config, "metrics": metrics}
        write_json(job.folder / RESULT, result)
        accuracy = f"accuracy {metrics['accuracy']:.4f}, {metrics['params']:,} params" if metrics else ended.reason
        self._done(f"{job.name} {ended.state}: {accuracy}")


def _track(spec: Spec, layout: Layout, confirmed: Sequence[Confirmed], seeds: int) -> None:
    """Log means and standard errors to the trials' MLflow runs, and the table to the parent."""
    tracker = open_tracker(layout, spec)
    for item in confirmed:
        figures = {name: item.mean(name) for name in ("accuracy", TEST_ACCURACY)}
        figures |= {f"{name}_error": item.error(name) for name in figures}
        finite = {f"confirmed_{name}": value for name, value in figures.items() if math.isfinite(value)}
        tracker.log_metrics(item.trial, finite, seeds)
    tracker.log_artifact(None, layout.folder / CONFIRMED)
    from prune_search.search.report.page import write_report

    tracker.log_artifact(None, write_report(layout, spec, confirmed=confirmed))
    tracker.close()


def _test(jobs: Sequence[Job], share: execution.Share, done: Callable[[str], None]) -> None:
    waiting = []
    for job in jobs:
        result = _result(job.folder)
        if result and _untested(result):
            waiting.append((job, result))
    trained = [(job.config, str(job.folder), job.remote) for job, _ in waiting]
    values = closing.on_cluster(trained, share.cpus, share.gpus)
    for (job, result), tested in zip(waiting, values, strict=True):
        if isinstance(tested, UserError):
            done(f"{job.name} was not tested: {tested}")
            continue
        result["metrics"][TEST_ACCURACY] = tested.accuracy
        write_json(job.folder / RESULT, result)


def _trained(job: Job) -> bool:
    """Whether a run has ended, and can be tested if it has not been."""
    result = _result(job.folder)
    return result is not None and not (
        _untested(result) and job.remote is None and not (job.folder / CHECKPOINT).exists()
    )


def _untested(result: Mapping[str, Any]) -> bool:
    return result["state"] == "completed" and TEST_ACCURACY not in result["metrics"]


def _result(folder: Path) -> dict[str, Any] | None:
    return json.loads((folder / RESULT).read_text()) if (folder / RESULT).exists() else None


def _gather(layout: Layout, record: Record, seeds: int) -> Confirmed:
    results = [_result(layout.confirmed(record.number, FIRST_SEED + i)) for i in range(seeds)]
    results = [result for result in results if result]
    good = [result["metrics"] for result in results if result["state"] == "completed"]
    names = sorted(set().union(*good)) if good else []
    values = {name: tuple(run[name] for run in good if name in run) for name in names}
    failed = tuple(result["reason"] for result in results if result["state"] != "completed")
    return Confirmed(record.number, record.model, record.recipe, failed, values)
