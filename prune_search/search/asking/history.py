"""What a sampler sees of a study: not everything, and not as it is."""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from prune_search.pareto.scale import LOGARITHMIC

RUNNING = 100
"""Of trials that run, or look so, the latest are shown where finished ones are thinned: each costs a model as much as those."""

FAULT = "fault"
"""User attribute of trials that failed by their own configuration."""


class History(BaseStorage):
    """A storage through which a sampler sees a study, as it was when it first looked.

    * Trials after ``last`` look as if they were still running: in a deterministic search trial n is asked from trials
      0..n-B only, whatever has finished meanwhile.
    * A trial that failed by its own configuration (:data:`FAULT`) looks as if it had been stopped, so that samplers which
      learn from stopped trials avoid its like. One whose worker died tells nothing, and stays failed.
    * Of the finished trials only ``kept`` are there, if given, and of the others the latest :data:`RUNNING`.
    * Values are those that :func:`prune_search.pareto.scale.scaled` measures: counts in decades. Samplers that weigh one
      objective against another would otherwise see no difference between 500 and 5,000 parameters beside 250,000.

    Args:
        storage: The study's.
        last: The greatest number of a trial with a result.
        kept: Numbers of finished trials up to ``last``, or None for all.
        objectives: The names of the values.
    """

    def __init__(
        self, storage: BaseStorage, last: int, kept: frozenset[int] | None = None, objectives: Sequence[str] = ()
    ):
        self._storage, self.last, self._kept = storage, last, kept
        self._decades = [name in LOGARITHMIC for name in objectives]
        self._looked: dict[int, list[FrozenTrial]] = {}
        self._made: dict[int, FrozenTrial] = {}

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if study_id not in self._looked:
            trials = self._storage.get_all_trials(study_id, deepcopy=False)
            latest = [trial.number for trial in trials if self._runs(trial)][-RUNNING:]
            shown = None if self._kept is None else self._kept.union(latest)
            self._looked[study_id] = [trial for trial in trials if shown is None or trial.number in shown]
        trials = self._looked[study_id]
        seen = [self._once(trial) for trial in trials if states is None or self._state(trial) in states]
        return copy.deepcopy(seen) if deepcopy else seen

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._seen(self._storage.get_trial(trial_id))

    def _runs(self, trial: FrozenTrial) -> bool:
        return trial.number > self.last or not trial.state.is_finished()

    def _state(self, trial: FrozenTrial) -> TrialState:
        if trial.state.is_finished() and trial.number > self.last:
            return TrialState.RUNNING
        if trial.state is TrialState.FAIL and FAULT in trial.user_attrs:
            return TrialState.PRUNED
        return trial.state

    def _seen(self, trial: FrozenTrial) -> FrozenTrial:
        state = self._state(trial)
        if state is not trial.state:
            return _with_state(trial, state)
        if state is TrialState.COMPLETE and any(self._decades):
            return _in_decades(trial, self._decades)
        return trial

    def _once(self, trial: FrozenTrial) -> FrozenTrial:
        """What is seen of a trial, made when it is first asked for: most samplers never look at most trials."""
        if trial._trial_id not in self._made:
            self._made[trial._trial_id] = self._seen(trial)
        return self._made[trial._trial_id]

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self._storage.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        self._storage.delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._storage.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._storage.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._storage.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._storage.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._storage.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._storage.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._storage.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list:
        return self._storage.get_all_studies()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return self._storage.create_new_trial(study_id, template_trial)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._storage.set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        return self._storage.set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._storage.set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._storage.set_trial_system_attr(trial_id, key, value)


def _in_decades(trial: FrozenTrial, which: Sequence[bool]) -> FrozenTrial:
    seen = copy.copy(trial)
    pairs = zip(trial.values, which, strict=True)
    seen.values = [math.log10(max(value, 1.0)) if decades else value for value, decades in pairs]
    return seen


def _with_state(trial: FrozenTrial, state: TrialState) -> FrozenTrial:
    """The trial without its results, in another state."""
    return FrozenTrial(
        number=trial.number,
        state=state,
        value=None,
        datetime_start=trial.datetime_start,
        datetime_complete=None if state is TrialState.RUNNING else trial.datetime_complete,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        system_attrs={k: v for k, v in trial.system_attrs.items() if not k.startswith("constraints")},
        intermediate_values={},
        trial_id=trial._trial_id,
    )
