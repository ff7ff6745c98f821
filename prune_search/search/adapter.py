"""What Ray Tune asks of a search: the next configuration, where results go, who goes on, when to stop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune import ProgressReporter, Stopper
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from prune_search.cost.metrics import Report
from prune_search.search.jobs import Ended, Job, NoMore, Source, Wait


class Adapter(Searcher):
    """Hands out a source's jobs and passes results back.

    Tune pickles it with its snapshots; nothing is in them, because the source's own study is the truth.

    Args:
        source: Where jobs come from.
        stop: When true, no further job is handed out.
        shared: Configuration that all jobs get.
        prepare: Applied to a job's configuration before it is handed out.
    """

    def __init__(
        self,
        source: Source,
        stop: Callable[[], bool],
        shared: Mapping[str, Any],
        prepare: Callable[[dict[str, Any]], dict[str, Any]],
    ):
        super().__init__(metric=None, mode=None)
        self._source, self._stop, self._shared, self._prepare = source, stop, shared, prepare
        self._jobs: dict[str, Job] = {}
        self._stopped: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._stop():
            return Searcher.FINISHED
        job = self._source.next()
        if isinstance(job, NoMore):
            return Searcher.FINISHED
        if isinstance(job, Wait):
            return None
        self._jobs[trial_id] = job
        where = {"folder": str(job.folder), "remote": job.remote}
        return {**self._shared, **where, "number": job.number, "config": self._prepare(job.config)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        report = _report(result)
        if report:
            self._source.report(self._jobs[trial_id], report)

    def goes_on(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether a trial shall train another epoch after this result."""
        report = _report(result)
        reason = self._source.judge(self._jobs[trial_id], report) if report else None
        if reason:
            self._stopped[trial_id] = reason
        return reason is None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        job = self._jobs.pop(trial_id, None)
        if job is None:
            return
        report, stopped = _report(result or {}), self._stopped.pop(trial_id, None)
        if error:
            self._source.end(job, Ended("failed", "worker_died", report))
        elif result and (stopped or result.get("state", "running") != "running"):
            if report:
                self._source.report(job, report)
            state, reason = ("stopped", stopped) if stopped else (result["state"], result["reason"])
            self._source.end(job, Ended(state, reason, report, result["rounds"]))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a resumed search builds a new Tuner."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Scheduler(FIFOScheduler):
    """First come, first served; a trial stops where the source says so.

    Tune does not save schedulers. Nothing is lost: what the source's rule knows, it reads from the trials' own reports.
    """

    def __init__(self, adapter: Adapter):
        super().__init__()
        self._adapter = adapter

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        return TrialScheduler.CONTINUE if self._adapter.goes_on(trial.trial_id, result) else TrialScheduler.STOP

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Forget what Tune keeps of every metric's last values, a third of a trial's memory: nobody asks for it any more."""
        trial.metric_n_steps.clear()
        trial.metric_analysis.clear()
        trial.run_metadata.invalidate_cache()

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """As Tune's own, without looking at trials that have ended."""
        waiting = [
            trial for trial in tune_controller.get_live_trials() if trial.status in (Trial.PENDING, Trial.PAUSED)
        ]
        return min(waiting, key=lambda trial: trial.status != Trial.PENDING, default=None)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Stop(Stopper):
    """Ends all trials once ``stop()`` is true; asked twice a second."""

    def __init__(self, stop: Callable[[], bool]):
        self._ask, self._asked, self._answer = stop, 0.0, False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        now = time.monotonic()
        if not self._answer and now - self._asked > 0.5:
            self._asked, self._answer = now, self._ask()
        return self._answer

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _report(result: Mapping[str, Any]) -> Report | None:
    return Report(**json.loads(result["report"])) if result.get("report") else None


class Silent(ProgressReporter):
    """In a notebook Tune's own clears what a cell shows, whatever ``verbose`` says."""

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        return False
