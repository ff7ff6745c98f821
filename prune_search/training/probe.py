"""A short look at a configuration before a search pays for it."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from prune_search.cost import Cost
from prune_search.removal import explain
from prune_search.spec.config import TrialConfig
from prune_search.training.data import data_of
from prune_search.training.trial import Trial

STEPS = 10


@dataclass(frozen=True)
class Probe:
    """What a configuration costs: its network, and seconds of a training step as measured here.

    ``whole`` are layers of which no channel can ever be removed, each with the reason.
    """

    model: str
    data: str
    cost: Cost
    whole: tuple[tuple[str, str], ...]
    train: int
    validation: int
    batch: int
    steps: int
    step_seconds: float
    trial_seconds: float
    device: str
    threads: int


def probe(config: TrialConfig) -> Probe:
    """Build the network and time a few training steps on one thread, on a GPU where there is one."""
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = data_of(config.data).to(device)
    trial = Trial(config, data, None, device=device)
    seconds = []
    with trial.stepping() as step_once:
        for inputs, labels in trial.sample_batches(STEPS + 1):
            started = time.perf_counter()
            step_once(inputs, labels)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
    step = statistics.median(seconds[1:] or seconds)
    images = len(data.train.labels)
    whole = step * config.training.epochs * images / config.training.batch_size
    return Probe(
        model=config.model.name,
        data=data.name,
        cost=trial.dense,
        whole=tuple(explain(trial.model, trial.example)),
        train=images,
        validation=len(data.validation.labels),
        batch=config.training.batch_size,
        steps=len(seconds) - 1,
        step_seconds=step,
        trial_seconds=whole,
        device=device,
        threads=1,
    )
