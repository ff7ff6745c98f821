"""A search's jobs: asked from the Optuna study, told to it when they end. The study is the only truth."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from prune_search.cost.metrics import Report
from prune_search.search.jobs import Ended, Job, NoMore, Wait
from prune_search.search.layout import Layout
from prune_search.search.samplers import sampler, suggest
from prune_search.search.storage import Horizon, open_study
from prune_search.spec import Spec
from prune_search.spec.space import base_name

CONFIG, ENDED = "config", "ended"


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
    ):
        self.spec, self.layout, self.storage = spec, layout, storage
        self.study = open_study(layout, storage, spec.objectives)
        self.back = max(spec.search.batch, slots)
        self._started, self._reported, self._ended = started, reported, ended
        trials = self.trials()
        self._resumed = [trial.number for trial in trials if trial.state is TrialState.RUNNING]
        self._asked = len(trials)
        self._open = set(self._resumed)
        self._trials: dict[int, Trial] = {}
        self._grid = list(islice(spec.grid(), spec.search.trials)) if spec.search.sampler == "grid" else None

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def next(self) -> Job | Wait | NoMore:
        if self._resumed:
            return self._hand_out(self._resumed.pop(0))
        number, search = self._asked, self.spec.search
        if search.trials is not None and number >= search.trials:
            return NoMore()
        if self._grid is not None and number >= len(self._grid):
            return NoMore()
        if search.deterministic and any(open_ <= number - self.back for open_ in self._open):
            return Wait()
        self._open.add(number)
        self._asked += 1
        return self._hand_out(number)

    def report(self, job: Job, report: Report) -> None:
        self._reported(job, report)

    def end(self, job: Job, ended: Ended) -> None:
        """Tell the study; a result that is not finite in any objective is a failure."""
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
        if ended.state in ("completed", "infeasible"):
            self.study.tell(trial, values)
        else:
            self.study.tell(trial, state=TrialState.PRUNED if ended.state == "stopped" else TrialState.FAIL)
        self._open.discard(job.number)
        self._ended(job, ended)

    def _hand_out(self, number: int) -> Job:
        trial = self._ask(number)
        plain = trial.user_attrs.get(CONFIG)
        if plain is None:
            config = self.spec.sample(suggest(trial)).plain
            trial.set_user_attr(CONFIG, json.dumps(config))
        else:
            config = json.loads(plain)
        self._trials[number] = trial
        job = job_of(self.layout, number, config, trial.params)
        self._started(job)
        return job

    def _ask(self, number: int) -> Trial:
        """A trial that is new, or that was left RUNNING."""
        last = number - self.back if self.spec.search.deterministic else number
        fixed = self._fixed(number)
        study = optuna.load_study(
            study_name=self.layout.name,
            storage=Horizon(self.storage, last),
            sampler=sampler(self.spec.search.sampler, self.spec.search.seed, number, fixed),
        )
        known = self.trials()
        if number < len(known):
            return Trial(study, known[number]._trial_id)
        return study.ask()

    def _fixed(self, number: int) -> Mapping[str, Any]:
        if self._grid is not None:
            return self._grid[number]
        return self.spec.enqueue[number] if number < len(self.spec.enqueue) else {}


def job_of(layout: Layout, number: int, config: dict[str, Any], params: Mapping[str, Any]) -> Job:
    """The job of a trial of a search."""
    shown = {base_name(name): value for name, value in params.items()}
    return Job(number, config, layout.trial(number), f"#{number:03d} {recipe_name(config, shown)}", shown)


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


def _plain(ended: Ended) -> dict[str, Any]:
    return {**vars(ended), "report": ended.report.metrics() if ended.report else None}
