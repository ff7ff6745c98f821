"""A search's jobs: asked from the Optuna study, told to it when they end. The study is the only truth."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from prune_search.cost.metrics import Report
from prune_search.search.asking.asker import CONFIG, Asker
from prune_search.search.asking.history import FAULT
from prune_search.search.asking.samplers import choose
from prune_search.search.early.judge import Judge
from prune_search.search.jobs import Ended, Job, NoMore, Wait
from prune_search.search.layout import Layout
from prune_search.search.storage import open_study
from prune_search.spec import Spec
from prune_search.spec.space import base_name
from prune_search.training.files import ERROR, REPORTS, read_reports
from prune_search.training.remote import pull

ENDED = "ended"
BEGUN = "begun"
"""User attribute of trials that were handed out; one that was only asked ahead lacks it."""


class StudySource:
    """Asks and tells one study.

    Trials that the study has as RUNNING when it is opened come first, under their own numbers. A trial's configuration
    is kept as its user attribute ``config``, how it ended as ``ended`` (state, reason, metrics, rounds).

    Args:
        spec: What is searched.
        layout: Where.
        storage: The study's storage.
        slots: Trials that may run at once; a deterministic search looks back at least as far.
        started, reported, ended: Called with a job when it is handed out, reports an epoch, has ended.
        enough: When true, no further trial begins.
        asking: Makes what asks the sampler.
    """

    def __init__(
        self,
        spec: Spec,
        layout: Layout,
        storage: BaseStorage,
        slots: int,
        *,
        started: Callable[[Job], None],
        reported: Callable[[Job, Report], None],
        ended: Callable[[Job, Ended], None],
        enough: Callable[[], bool] = lambda: False,
        asking: Callable[..., Asker] = Asker,
    ):
        self.spec, self.layout, self.storage = spec, layout, storage
        self.study = open_study(layout, storage, spec.objectives)
        self.back = max(spec.search.batch, slots)
        self.sampler, self.why = choose(spec, slots)
        self._asker = asking(spec, layout.name, storage, self.sampler, self.back)
        self._judge = Judge(spec)
        self._started, self._reported, self._ended, self._enough = started, reported, ended, enough
        trials = self.trials()
        self._resumed = {trial.number: trial._trial_id for trial in trials if trial.state is TrialState.RUNNING}
        self._asked = len(trials)
        self._open = set(self._resumed)
        self._trials: dict[int, Trial] = {}
        for trial in trials:
            self._recall(trial)

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def next(self) -> Job | Wait | NoMore:
        number = next(iter(self._resumed), self._asked)
        if number not in self._resumed and self._over(number):
            return NoMore()
        if not self._ready(number):
            return Wait()
        self._asker.prepare(number, self._resumed.get(number))
        asked = self._asker.take(number, wait=not self._open)  # Tune sleeps for two seconds if nothing runs
        if asked is None:
            return Wait()
        if number in self._resumed:
            del self._resumed[number]
        else:
            self._asked += 1
        self._open.add(number)
        self._trials[number] = asked.trial
        if self._asker.threaded:
            self._ahead()
        asked.trial.set_user_attr(BEGUN, True)
        job = job_of(self.layout, number, asked.config, asked.trial.params, self.spec.resources.storage)
        self._started(job)
        return job

    def close(self, interrupted: bool = False) -> None:
        """Ask no more. What was asked ahead waits for a resumption, like other open trials; if there is nothing to resume, it is
        taken back.
        """
        for asked in self._asker.close():
            if not self._open and not interrupted:
                self.study.tell(asked.trial, state=TrialState.FAIL)

    def _over(self, number: int) -> bool:
        limits = [limit for limit in (self.spec.search.trials, self._asker.size) if limit is not None]
        return self._enough() or (bool(limits) and number >= min(limits))

    def _ready(self, number: int) -> bool:
        """Whether all that a deterministic search wants to know for this trial is known."""
        return not self.spec.search.deterministic or all(open_ > number - self.back for open_ in self._open)

    def _ahead(self) -> None:
        number = next(iter(self._resumed), self._asked)
        if number in self._resumed or (not self._over(number) and self._ready(number)):
            self._asker.prepare(number, self._resumed.get(number))

    def judge(self, job: Job, report: Report) -> str | None:
        last = job.number - self.back if self.spec.search.deterministic else sys.maxsize
        return self._judge.verdict(job.number, job.config, report, last)

    def report(self, job: Job, report: Report) -> None:
        self._reported(job, report)

    def end(self, job: Job, ended: Ended) -> None:
        """Tell the study, once the trial's reports are in its folder here; a result that is not finite in any objective is a failure."""
        pull(job.remote, job.folder, (REPORTS, ERROR))
        values = [getattr(ended.report, name, None) for name in self.spec.objectives] if ended.report else []
        finite = bool(values) and all(value is not None and math.isfinite(value) for value in values)
        if ended.state == "completed" and not finite:
            ended = replace(ended, state="failed", reason="an objective is not finite")
        trial = self._trials.pop(job.number)
        if ended.state == "completed":
            violations = [condition.violation(ended.report.metrics()) for condition in self.spec.constraints]
            for condition, violation in zip(self.spec.constraints, violations, strict=True):
                trial.set_constraint(str(condition), violation)
            if any(violation > 0 for violation in violations):
                broken = [str(c) for c, v in zip(self.spec.constraints, violations, strict=True) if v > 0]
                ended = replace(ended, state="infeasible", reason="not " + ", not ".join(broken))
        trial.set_user_attr(ENDED, json.dumps(_plain(ended)))
        if ended.state == "failed" and ended.reason != "worker_died":
            trial.set_user_attr(FAULT, True)
        if _whole(ended):
            self.study.tell(trial, values)
        else:
            self.study.tell(trial, state=TrialState.PRUNED if ended.state == "stopped" else TrialState.FAIL)
        self._open.discard(job.number)
        self._asker.tell(job.number, values if ended.state == "completed" else None)
        self._judge.ended(job.number, job.config, ended.report if _whole(ended) else None)
        self._ended(job, ended)

    def _recall(self, trial: FrozenTrial) -> None:
        """Take in what an earlier driver saw of a trial."""
        ended = ended_of(trial)
        if trial.state.is_finished():
            self._asker.tell(trial.number, trial.values if ended and ended.state == "completed" else None)
        if CONFIG not in trial.user_attrs:
            return
        config, folder = json.loads(trial.user_attrs[CONFIG]), self.layout.trial(trial.number)
        if not trial.state.is_finished():
            pull(self.layout.remote(self.spec.resources.storage, folder), folder, (REPORTS,))
        for report in read_reports(folder):
            self._judge.verdict(trial.number, config, report, -1)
        if trial.state.is_finished():
            self._judge.ended(trial.number, config, ended.report if ended and _whole(ended) else None)


def job_of(
    layout: Layout, number: int, config: dict[str, Any], params: Mapping[str, Any], storage: str | None = None
) -> Job:
    """The job of a trial of a search; ``storage`` is ``resources.storage``."""
    shown = {base_name(name): value for name, value in params.items()}
    folder, name = layout.trial(number), f"#{number:03d} {recipe_name(config, shown)}"
    return Job(number, config, folder, name, shown, layout.remote(storage, folder))


def recipe_name(config: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """What people call a configuration's recipe: the option chosen in the space, else the preset it starts from."""
    chosen, recipe = params.get("recipe", "{"), config["recipe"]
    if not chosen.startswith("{"):
        return chosen
    return recipe if isinstance(recipe, str) else recipe.get("preset", "magnitude")


def ended_of(trial: FrozenTrial) -> Ended | None:
    """How a trial of the study ended; None while it runs."""
    text = trial.user_attrs.get(ENDED)
    if text is None or not trial.state.is_finished():
        return None
    plain = json.loads(text)
    report = Report(**plain["report"]) if plain["report"] else None
    return Ended(plain["state"], plain["reason"], report, plain.get("rounds", ""))


def _whole(ended: Ended) -> bool:
    """Whether the trial was trained to its end."""
    return ended.state in ("completed", "infeasible")


def _plain(ended: Ended) -> dict[str, Any]:
    return {**vars(ended), "report": ended.report.metrics() if ended.report else None}
