"""What Ray Tune asks of a search: the next configuration, where results go, when to stop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune import Stopper
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

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._stop():
            return Searcher.FINISHED
        job = self._source.next()
        if isinstance(job, NoMore):
            return Searcher.FINISHED
        if isinstance(job, Wait):
            return None
        self._jobs[trial_id] = job
        return {**self._shared, "number": job.number, "folder": str(job.folder), "config": self._prepare(job.config)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        report = _report(result)
        if report:
            self._source.report(self._jobs[trial_id], report)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        job = self._jobs.pop(trial_id, None)
        if job is None:
            return
        report = _report(result or {})
        if error:
            self._source.end(job, Ended("failed", "worker_died", report))
        elif result and result.get("state", "running") != "running":
            if report:
                self._source.report(job, report)
            self._source.end(job, Ended(result["state"], result["reason"], report, result["rounds"]))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a resumed search builds a new Tuner."""

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
