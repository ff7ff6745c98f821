"""Which configuration next: Optuna's samplers by name, each made anew for every question, seeded by (seed, trial)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler
from optuna.trial import Trial

from prune_search.search.asking.branches import BranchedTPE
from prune_search.spec import Spec
from prune_search.spec.domains import Domain, Float, Int

STARTUP = 10
THINNED = {"tpe": (50, 150), "gp": (50, 150)}
"""How many of the best and of the other finished trials a sampler is shown, where its questions would cost more and more."""


def sampler(name: str, seed: int, number: int, fixed: Mapping[str, Any] | None = None) -> BaseSampler:
    """The sampler that is asked for trial ``number``.

    A resumed search asks as one that never stopped: nothing but (seed, number) and the study decides. ``qmc`` is one
    sequence, so its seed must not change; its position is kept in the study.

    Args:
        name: tpe, nsgaii, nsgaiii, gp, qmc, random; grid: as ``fixed`` says.
        fixed: Parameters whose values are given (``search.enqueue``).
    """
    one = (seed * 1_000_003 + number) % 2**32
    made = {
        "tpe": lambda: BranchedTPE(STARTUP, one, fixed or ()),
        "nsgaii": lambda: optuna.samplers.NSGAIISampler(seed=one),
        "nsgaiii": lambda: optuna.samplers.NSGAIIISampler(seed=one),
        "gp": lambda: optuna.samplers.GPSampler(n_startup_trials=STARTUP, seed=one, deterministic_objective=False),
        "qmc": lambda: optuna.samplers.QMCSampler(
            seed=seed, scramble=True, warn_independent_sampling=False, warn_asynchronous_seeding=False
        ),
        "random": lambda: optuna.samplers.RandomSampler(seed=one),
        "grid": lambda: optuna.samplers.RandomSampler(seed=one),
    }[name]()
    return PartialFixedSampler(dict(fixed), made) if fixed else made


def choose(spec: Spec, slots: int) -> tuple[str, str]:
    """The sampler for ``sampler: auto``, and why.

    Args:
        slots: Trials that run at once.
    """
    search, domains = spec.search, spec.parameters()
    if search.sampler != "auto":
        return search.sampler, "as the file says"
    if search.trials is not None and all(domain.values() is not None for domain in domains.values()):
        size = sum(1 for _ in islice(spec.grid(), search.trials + 1))
        if size <= search.trials:
            return "grid", f"all {size} configurations fit into {search.trials} trials"
    if search.trials is not None and slots * STARTUP > search.trials > slots:
        return "qmc", f"{slots} trials at once leave a model fewer than {STARTUP} looks at its results"
    return "tpe", "the best of what was measured on mixed, conditional spaces"


def suggest(trial: Trial) -> Callable[[str, Domain], Any]:
    """A function (name, domain) -> value that asks an Optuna trial."""

    def ask(name: str, domain: Domain) -> Any:
        if isinstance(domain, Int):
            return trial.suggest_int(name, domain.low, domain.high, log=domain.log, step=domain.step or 1)
        if isinstance(domain, Float):
            return trial.suggest_float(name, domain.low, domain.high, log=domain.log, step=domain.step)
        return trial.suggest_categorical(name, domain.options)

    return ask


def distribution(domain: Domain) -> BaseDistribution:
    """What :func:`suggest` asks for, as Optuna keeps it."""
    if isinstance(domain, Int):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step or 1)
    if isinstance(domain, Float):
        return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    return CategoricalDistribution(domain.options)
