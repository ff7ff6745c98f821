"""Search spaces at random, in YAML as a user writes it."""

from __future__ import annotations

import random
from typing import Any

from prune_search.pruning.presets import PRESETS

SAMPLERS = ("tpe", "nsgaii", "gp", "qmc", "random", "auto")
EARLY = ("none", "moasha", "moasha-schedule-aware", "hyperband")
LONGEST = 8  # epochs


def space(draw: random.Random) -> dict[str, Any]:
    """A small search over two or three recipes; it may well be one that the loader refuses."""
    return {
        "name": "soak",
        "seed": draw.randrange(1000),
        "data": {
            "name": "digits",
            "train_size": draw.choice((100, 251, 400)),
            "validation_size": draw.choice((64, 150)),
        },
        "model": _model(draw),
        "training": {
            "epochs": draw.randrange(2, LONGEST + 1),
            "batch_size": draw.choice((10, 32, 50)),
            "optimizer": {
                "name": draw.choice(("sgd", "adamw")),
                "lr": {"low": 1e-3, "high": draw.choice((0.1, 0.3, 1e4)), "log": True},
            },
            "schedule": draw.choice(("constant", "cosine", "onecycle", "step")),
            "clip_norm": draw.choice((None, None, 1.0)),
            "label_smoothing": draw.choice((0.0, 0.0, 0.1)),
        },
        "recipe": {"choices": {preset: _recipe(draw) for preset in draw.sample([*PRESETS], draw.choice((2, 3)))}},
        "objectives": draw.choice(
            (
                {"accuracy": "maximize", "params": "minimize"},
                {"accuracy": "maximize", "params": "minimize", "flops": "minimize"},
            )
        ),
        "constraints": draw.choice(({}, {}, {"accuracy": ">= 0.3"})),
        "search": {
            "trials": draw.randrange(3, 7),
            "sampler": draw.choice(SAMPLERS),
            "early_stopping": draw.choice(EARLY),
            "deterministic": draw.random() < 0.3,
            "reuse": draw.choice(("auto", False, True)),
            "concurrency": draw.choice(("auto", 1, 2)),
        },
        "resources": {"workers": draw.choice((1, 1, 1, 1, 2)), "cpus_per_worker": draw.choice((1, 0.5))},
    }


def _model(draw: random.Random) -> Any:
    if draw.random() < 0.2:
        return "lenet-300-100"
    return {"name": "tests.soak.networks:build", "seed": draw.randrange(10_000)}


def _recipe(draw: random.Random) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    if draw.random() < 0.3:
        changed["granularity"] = draw.choice(("weight", "channel"))
    if draw.random() < 0.3:
        changed["removal"] = draw.choice(("at-end", "at-events", "never"))
    if draw.random() < 0.2:
        changed["stopping"] = draw.choice(({"every": {"epochs": 1}}, "plateau", "loss-gradient", "gradient-flow"))
    if draw.random() < 0.2:
        changed["regularizer"] = draw.choice(("l1", "lobster", "none"))
    if draw.random() < 0.15:
        changed["floor"] = 0
    return changed
