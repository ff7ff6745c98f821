"""Rules for one objective, by the libraries that have them: Ray Tune's ASHA and Optuna's pruners.

Both are asked at every sixteenth of a trial's epochs, and these sixteenths are the steps they count in.
"""

from __future__ import annotations

from types import SimpleNamespace

import optuna
from optuna.pruners import BasePruner
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from prune_search.search.early.standing import Standing

STEPS = 16
SHARES = tuple(step / STEPS for step in range(1, STEPS))


class RayAsha:
    """``ray.tune.schedulers.AsyncHyperBandScheduler`` with one bracket.

    Args:
        reduction: One of how many goes on.
    """

    shares = SHARES

    def __init__(self, reduction: int = 3):
        self._asha = AsyncHyperBandScheduler(
            time_attr="step", metric="loss", mode="min", max_t=STEPS, reduction_factor=reduction
        )
        self._stopped: dict[int, bool] = {}
        self._told: set[tuple[int, int]] = set()

    def enter(self, stage: int, at: Standing) -> None:
        if not at.finite or (at.number, stage) in self._told:
            return
        trial = SimpleNamespace(trial_id=str(at.number))
        if at.number not in self._stopped:
            self._asha.on_trial_add(None, trial)
        decision = self._asha.on_trial_result(None, trial, {"step": stage + 1, "loss": at.losses[0]})
        self._stopped[at.number] = decision == TrialScheduler.STOP
        self._told.add((at.number, stage))

    def verdict(self, stage: int, at: Standing, last: int) -> str | None:
        return f"behind its rung at epoch {at.epoch}" if self._stopped.get(at.number) else None

    def finish(self, number: int, end: Standing | None) -> None:
        """Only stages count."""


class Pruner:
    """A pruner of Optuna, in a study of its own.

    Args:
        pruner: Such as ``optuna.pruners.MedianPruner()``.
    """

    shares = SHARES

    def __init__(self, pruner: BasePruner):
        self._study = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(), direction="minimize", pruner=pruner
        )
        self._trials: dict[int, optuna.Trial] = {}

    def enter(self, stage: int, at: Standing) -> None:
        if at.number not in self._trials:
            self._trials[at.number] = self._study.ask()
        self._trials[at.number].report(at.losses[0], stage + 1)

    def verdict(self, stage: int, at: Standing, last: int) -> str | None:
        return f"pruned by Optuna at epoch {at.epoch}" if self._trials[at.number].should_prune() else None

    def finish(self, number: int, end: Standing | None) -> None:
        if trial := self._trials.pop(number, None):
            state = optuna.trial.TrialState.COMPLETE if end else optuna.trial.TrialState.PRUNED
            self._study.tell(trial, end.losses[0] if end else None, state=state)


def median(startup: int = 5) -> Pruner:
    """Optuna's MedianPruner.

    Args:
        startup: Completed trials before anybody is stopped.
    """
    return Pruner(optuna.pruners.MedianPruner(n_startup_trials=startup))


def successive_halving(reduction: int = 3) -> Pruner:
    """Optuna's SuccessiveHalvingPruner."""
    return Pruner(optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=reduction))
