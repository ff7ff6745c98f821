"""Between a search and its rule of early stopping: which report is at a stage, what the rule is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prune_search.cost.metrics import Report
from prune_search.pruning.recipe import resolve
from prune_search.search.early.forecast import Forecast
from prune_search.search.early.halving import Brackets, Halving
from prune_search.search.early.standing import Rule, Standing, standing
from prune_search.spec import Spec
from prune_search.spec.settings import ONE_OBJECTIVE, EarlyStopping


def rule_of(settings: EarlyStopping) -> Rule | None:
    """The rule that ``search.early_stopping`` names; None for ``none``."""
    options = settings.model_dump(exclude={"name"})
    if settings.name == "none":
        return None
    if settings.name in ONE_OBJECTIVE:
        from prune_search.search.early import single

        rules = {"asha": single.RayAsha, "median": single.median, "successive-halving": single.successive_halving}
        return rules[settings.name](**options)
    return {"moasha": Halving, "hyperband": Brackets, "moasha-schedule-aware": Forecast}[settings.name](**options)


class Judge:
    """Asks a rule at each stage of each trial, once.

    A resumed search tells it again what the trials reported, with ``last=-1``; those stages are not judged again.

    Args:
        spec: Objectives, constraints and the rule.
    """

    def __init__(self, spec: Spec):
        self._spec = spec
        self.rule = rule_of(spec.search.early_stopping)
        self._reached: dict[int, int] = {}
        self._planned: dict[int, float] = {}

    def verdict(self, number: int, config: Mapping[str, Any], report: Report, last: int) -> str | None:
        """Why the trial shall stop after this report; None: it goes on.

        Args:
            last: Only trials up to this number count beside it; -1: nobody, the rule only takes it in.
        """
        if self.rule is None:
            return None
        stage, at = self._enter(number, config, report)
        return None if stage is None else self.rule.verdict(stage, at, last)

    def ended(self, number: int, config: Mapping[str, Any], report: Report | None) -> None:
        """A trial has ended; ``report`` is its last if it was trained to its end, None otherwise."""
        if self.rule is not None:
            self.rule.finish(number, self._standing(number, config, report) if report else None)
        self._reached.pop(number, None)
        self._planned.pop(number, None)

    def _enter(self, number: int, config: Mapping[str, Any], report: Report) -> tuple[int | None, Standing]:
        """The stage that this report is the first to reach, and how the trial stands."""
        at = self._standing(number, config, report)
        epochs = config["training"]["epochs"]
        passed = [k for k, share in enumerate(self.rule.shares) if report.epoch >= share * epochs - 1e-9]
        stage = passed[-1] if passed and report.epoch < epochs else None
        if stage is None or stage <= self._reached.get(number, -1):
            return None, at
        self._reached[number] = stage
        self.rule.enter(stage, at)
        return stage, at

    def _standing(self, number: int, config: Mapping[str, Any], report: Report) -> Standing:
        if number not in self._planned:
            self._planned[number] = resolve(config["recipe"]).planned_sparsity
        return standing(number, report, self._spec.objectives, self._spec.constraints, self._planned[number])
