"""TPE on spaces with branches: what a branch asks is sampled together, and only for the branch that was taken."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class BranchedTPE(BaseSampler):
    """Multivariate TPE of each group of parameters, when the first of the group is asked for.

    A group are parameters that the same finished trials have, as with ``TPESampler(multivariate=True, group=True)``. That
    one samples every group of the space before a trial begins, here twenty where a trial needs six; its time goes with it.
    Trials that run count as bad ones until they end (``constant_liar``), so that trials side by side are not alike.

    Args:
        startup: Finished trials before the first model; random until then.
        seed: Of all that is random.
        without: Parameters that are never asked for.
    """

    def __init__(self, startup: int, seed: int, without: Container[str] = ()):
        self._tpe = TPESampler(multivariate=True, constant_liar=True, n_startup_trials=startup, seed=seed)
        self._without = without
        self._groups: dict[str, dict[str, BaseDistribution]] = {}
        self._sampled: dict[str, Any] = {}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """None: nothing is known of a trial before its first branch."""
        self._groups, self._sampled = self._grouped(study), {}
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name not in self._sampled and param_name in self._groups:
            self._sampled |= self._tpe.sample_relative(study, trial, self._groups[param_name])
        if param_name in self._sampled:
            return self._sampled[param_name]
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def _grouped(self, study: Study) -> dict[str, dict[str, BaseDistribution]]:
        """Parameter -> its group, from the trials that are finished."""
        having: dict[str, list[int]] = {}
        distributions: dict[str, BaseDistribution] = {}
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
            for name, distribution in trial.distributions.items():
                if name not in self._without and not distribution.single():
                    having.setdefault(name, []).append(trial.number)
                    distributions[name] = distribution
        groups: dict[tuple[int, ...], dict[str, BaseDistribution]] = {}
        for name in sorted(having):
            groups.setdefault(tuple(having[name]), {})[name] = distributions[name]
        return {name: group for group in groups.values() for name in group}
