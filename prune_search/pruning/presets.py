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

_PRESETS: dict[str, dict[str, Any]] = {
    "dense": {"schedule": "none", "removal": "never", "dense_epochs": 0},
    "magnitude": {"dense_epochs": 0.1, "final_epochs": 0.3},
    "random": {"score": "random", "dense_epochs": 0.1, "final_epochs": 0.3},
    "dyprune": {**_DYPRUNE, "round": {"max_epochs": 0.12}, "final_epochs": 0.3},
    "dyprune-authors": {**_DYPRUNE, "rewind": {"none": {"optimizer": "fresh"}}, "final_epochs": 1},
}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType({n: {**_BASE, **p} for n, p in _PRESETS.items()})

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "dense": "control: the same training without pruning",
        "magnitude": "control: global magnitude pruning on a cubic schedule (Zhu & Gupta 2017, arXiv 1710.01878); "
        "lengths are our choice",
        "random": "control: as magnitude, with random scores",
        "dyprune": "Jonker et al., DyPrune, EPIA 2023 (rate and trigger read in the authors' code); longest round of "
        "0.12 of the epochs, free final epochs, kept biases and optimizer are our choice",
        "dyprune-authors": "Jonker et al., DyPrune, EPIA 2023: the bare rule with the optimizer rebuilt at events, without "
        "the defects of the authors' code; it may end dense",
    }
)
