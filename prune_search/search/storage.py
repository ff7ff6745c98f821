"""The Optuna study: the one durable truth about a search."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Container, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from prune_search.search.layout import Layout

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def quiet() -> None:
    """Send Optuna's messages to the logging tree instead of stderr."""
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    logging.getLogger("optuna").setLevel(logging.WARNING)


def open_storage(layout: Layout, url: str | None) -> BaseStorage:
    """The journal file in the search's folder, or any Optuna storage URL (PostgreSQL for a cluster)."""
    quiet()
    if url is None:
        return JournalStorage(JournalFileBackend(str(layout.journal)))
    return optuna.storages.get_storage(url)


def open_study(layout: Layout, storage: BaseStorage, objectives: dict[str, str]) -> optuna.Study:
    """Create the study, or load it if it exists; metrics are named."""
    study = optuna.create_study(
        study_name=layout.name,
        storage=storage,
        directions=list(objectives.values()),
        sampler=optuna.samplers.RandomSampler(seed=0),
        load_if_exists=True,
    )
    if study.metric_names is None:
        study.set_metric_names(list(objectives))
    return study


class Horizon(BaseStorage):
    """A storage in which trials after ``last`` have no results yet: they look as if they were still running.

    For deterministic searches: trial n is asked from trials 0..n-B only, whatever has finished meanwhile.
    """

    def __init__(self, storage: BaseStorage, last: int):
        self._storage, self.last = storage, last

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = [self._seen(trial) for trial in self._storage.get_all_trials(study_id, deepcopy=deepcopy)]
        return [trial for trial in trials if states is None or trial.state in states]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._seen(self._storage.get_trial(trial_id))

    def _seen(self, trial: FrozenTrial) -> FrozenTrial:
        if trial.number <= self.last or not trial.state.is_finished():
            return trial
        attributes = {k: v for k, v in trial.system_attrs.items() if not k.startswith("constraints")}
        return FrozenTrial(
            number=trial.number,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=trial.datetime_start,
            datetime_complete=None,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs,
            system_attrs=attributes,
            intermediate_values={},
            trial_id=trial._trial_id,
        )

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
