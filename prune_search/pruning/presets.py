"""Published methods and controls as data: which part stands on each axis. Any of it can be replaced in the YAML.

Lengths below 1 are fractions of the trial's epochs; the authors' absolute values stand beside them as source.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_BASE: dict[str, Any] = {
    "score": "magnitude",
    "granularity": "weight",
    "distribution": "global",
    "schedule": "cubic",
    "stopping": "every",
    "growth": "none",
    "rewind": "none",
    "regularizer": "none",
    "backward": "all",
    "removal": "at-end",
}

_DYPRUNE: dict[str, Any] = {
    "schedule": "size-scaled",
    "stopping": "loss-gradient",
    "removal": "at-events",
    "dense_epochs": 1,
}

_IMP: dict[str, Any] = {
    "schedule": {"per-round": {"rate": 0.2}},
    "stopping": {"every": {"epochs": 0.1}},
    "dense_epochs": 0.1,
    "final_epochs": 0.1,
}

_DYNAMIC: dict[str, Any] = {
    "schedule": "constant",
    "distribution": "erk",
    "stopping": {"every": {"epochs": 1}},
    "at_start": {"score": "random", "schedule": {"one-shot": {"final_sparsity": 0.9}}, "distribution": "erk"},
    "dense_epochs": 0,
    "final_epochs": 0.25,
}

_TOLERANCE: dict[str, Any] = {
    "schedule": "loss-tolerance",
    "stopping": {"slack-plateau": {"patience": 2}},
    "rewind": "best-state",
    "dense_epochs": 0.1,
    "final_epochs": 0.2,
}

_INFCOP: dict[str, Any] = {
    "schedule": "pq-index",
    "rewind": {"weights": {"epoch": 0.02}},
    "round": {"max_epochs": 0.15, "accuracy_gate": 0.02, "accuracy_exit": True},
    "dense_epochs": 0.15,
    "final_epochs": 0.3,
}

_INFCOP_SOURCE = (
    "Gharatappeh & Yasaei Sekeh 2025, InfCoP, arXiv 2501.15592 (authors' code): SAP pruning whose rounds end when the {} "
    "flow {} or the dense accuracy is regained; an early rewinding point, the accuracy gate, a full last round "
    "and all lengths are our choice"
)


def _at_start(score: str, iterations: int) -> dict[str, Any]:
    """Pruning at initialisation to 90 % by ``score``; nothing is pruned during training."""
    start = {"schedule": {"exponential": {"final_sparsity": 0.9}}, "distribution": "global"}
    return {"schedule": "none", "dense_epochs": 0, "at_start": {"score": score, **start, "iterations": iterations}}


_PRESETS: dict[str, dict[str, Any]] = {
    "dense": {"schedule": "none", "removal": "never", "dense_epochs": 0},
    "magnitude": {"dense_epochs": 0.1, "final_epochs": 0.3},
    "random": {"score": "random", "dense_epochs": 0.1, "final_epochs": 0.3},
    "snip": _at_start("snip", 1),
    "grasp": _at_start("grasp", 1),
    "synflow": _at_start("synflow", 100),
    "dyprune": {**_DYPRUNE, "round": {"max_epochs": 0.12}, "final_epochs": 0.3},
    "dyprune-authors": {**_DYPRUNE, "rewind": {"none": {"optimizer": "fresh"}}, "final_epochs": 1},
    "imp": {**_IMP, "rewind": {"weights": {"epoch": 0.02}}},
    "imp-lr-rewind": {**_IMP, "rewind": "learning-rate"},
    "sap": {**_IMP, "schedule": "pq-index", "rewind": {"weights": {"epoch": 0}}},
    "lobster": {**_TOLERANCE, "regularizer": "lobster"},
    "activation-density": {
        "score": "activation-density",
        "granularity": "channel",
        "schedule": "density",
        "stopping": "density-saturation",
        "removal": "at-events",
        "round": {"min_epochs": 2, "max_epochs": 0.25},
        "dense_epochs": 1,
        "max_events": 4,
        "final_epochs": 0.4,
        "recalibrate_batchnorm": 100,
    },
    "neq": {"schedule": "none", "backward": "neq", "removal": "never", "dense_epochs": 0},
    "serene": {**_TOLERANCE, "regularizer": "serene"},
    "set": {**_DYNAMIC, "growth": "random"},
    "rigl": {**_DYNAMIC, "growth": "gradient"},
    "infcop-if": {**_INFCOP, "stopping": "information-flow"},
    "infcop-gf": {**_INFCOP, "stopping": "gradient-flow"},
}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType({n: {**_BASE, **p} for n, p in _PRESETS.items()})

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "dense": "control: the same training without pruning",
        "magnitude": "control: global magnitude pruning on a cubic schedule (Zhu & Gupta 2017, arXiv 1710.01878); "
        "lengths are our choice",
        "random": "control: as magnitude, with random scores",
        "snip": "Lee et al. 2019, SNIP, arXiv 1810.02340: one global ranking at the start, 10 images per class (read in "
        "the SynFlow authors' code); balanced images and 90 % are our choice",
        "grasp": "Wang et al. 2020, GraSP, arXiv 2002.07376: one global ranking at the start, 10 images per class, "
        "temperature 200 (read in the SynFlow authors' code, which scores in eval mode and re-draws no layer); balanced "
        "images and 90 % are our choice",
        "synflow": "Tanaka et al. 2020, SynFlow, arXiv 2006.05467: 100 exponential steps at the start, global ranking "
        "(read in the authors' code); float64, neutral batch norms, zero biases and 90 % are our choice",
        "dyprune": "Jonker et al., DyPrune, EPIA 2023 (rate and trigger read in the authors' code); longest round of "
        "0.12 of the epochs, free final epochs, kept biases and optimizer are our choice",
        "dyprune-authors": "Jonker et al., DyPrune, EPIA 2023: the bare rule with the optimizer rebuilt at events, without "
        "the defects of the authors' code; it may end dense",
        "imp": "Frankle & Carbin 2019, arXiv 1803.03635; Frankle et al. 2020, arXiv 1912.05671: 20 % of the survivors a "
        "round, weights rewound to an early epoch (read in open_lth); rounds of 0.1 of the epochs are our choice",
        "imp-lr-rewind": "Renda et al. 2020, arXiv 2003.02389: weights kept, the whole learning-rate schedule again in every "
        "round (authors' code and data); rounds of 0.1 of the epochs are our choice",
        "sap": "Diao et al. 2023, arXiv 2302.05601: PQ index with p 0.5, q 1, rewound to initialisation (authors' poster and "
        "code); the last epoch instead of the best by test accuracy, no gradient clipping, and lengths are our choice",
        "lobster": "Tartaglione et al. 2022, arXiv 2011.09905 (authors' code; the paper's tables were not read): only Conv and "
        "Linear weights shrink, rank bisection, patience and free final epochs are our choice",
        "activation-density": "our implementation of activation-density pruning after Foldy-Porto et al. 2020, arXiv 2002.02949, of "
        "which the abstract alone was read: layers sized by density, periodically, while training. Formula, criterion, kept "
        "weights, choice of channels and all lengths are our choice",
        "neq": "Bragagnolo et al. 2022, NEq, arXiv 2207.09455 (abstract and authors' code; the paper's text was not read): dense "
        "training in which neurons at equilibrium are left out; that they cost no gradient is our choice",
        "serene": "Tartaglione et al. 2022, SeReNe, arXiv 2102.03773 (abstract and authors' code; the paper's text was not read): "
        "as lobster, with whole neurons shrinking by their sensitivity; lower bound on a fixed probe is our choice",
        "set": "Mocanu et al. 2018, arXiv 1707.04780, from memory of the paper: 30 % exchanged at random after every epoch "
        "at constant sparsity, ERK; no exchange in the last quarter is our choice",
        "rigl": "Evci et al. 2020, arXiv 1911.11134, from memory of the paper: 30 % (cosine to 0 at 75 % of training) "
        "exchanged by gradient, ERK; after every epoch instead of every 100 steps is our choice",
        "infcop-if": _INFCOP_SOURCE.format("information", "stops approaching the dense network's"),
        "infcop-gf": _INFCOP_SOURCE.format("gradient", "is near the dense network's"),
    }
)
