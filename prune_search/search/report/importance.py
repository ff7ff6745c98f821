"""How much each parameter matters for each objective: Optuna's PED-ANOVA on completed trials."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from prune_search.pareto.scale import LOGARITHMIC

FEWEST, MOST = 10, 12
"""Trials that a figure needs, parameters that it shows; our choice."""


def importances(
    trials: Sequence[tuple[FrozenTrial, Mapping[str, float]]], objectives: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """Objective -> parameter -> share of what the best tenth differs in from all (Watanabe et al. 2023, PED-ANOVA).

    Empty with fewer than :data:`FEWEST` trials, or where nothing varies.

    Args:
        trials: Trial and its last metrics.
    """
    found: dict[str, dict[str, float]] = {}
    for name, direction in objectives.items():
        study = optuna.create_study(direction=direction)
        for trial, metrics in trials:
            value = metrics.get(name)
            if value is None or not math.isfinite(value):
                continue
            value = math.log10(max(value, 1.0)) if name in LOGARITHMIC else value
            study.add_trial(create_trial(params=trial.params, distributions=trial.distributions, value=value))
        values = {trial.value for trial in study.get_trials(deepcopy=False)}
        if len(study.get_trials(deepcopy=False)) < FEWEST or len(values) < 2:
            continue
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Some regimes for parameter")  # the page says so of all
            shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
        shares = dict(sorted(shares.items(), key=lambda item: -item[1])[:MOST])
        if any(shares.values()):
            found[name] = shares
    return found
