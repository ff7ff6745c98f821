"""How many trials should share this machine's device? Measured by training the same trial in more and more processes."""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

PATIENCE = 600.0  # seconds until a process that does not come to the gate is given up


def rates(
    config: Mapping[str, Any], at_once: Sequence[int], *, device: str = "cpu", seconds: float = 4.0
) -> Iterator[tuple[int, float]]:
    """(trials at once, images trained a second by all of them), as soon as each is measured.

    Whole epochs of a dense network: training, validation, report and checkpoint; pruning would make them differ from each other.
    All processes start together and count until the seconds are over, one torch thread each.

    Args:
        config: A sampled configuration, as :class:`prune_search.spec.config.TrialConfig` takes it.
        at_once: How many trials, each in a process of its own.
        device: Where all of them train.

    Raises:
        RuntimeError: A process ended, as when memory does not suffice for so many.
    """
    plain = copy.deepcopy(dict(config)) | {"recipe": "dense"}
    plain["training"] = {**plain["training"], "epochs": 10**6}
    context = get_context("spawn")
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # read when the processes import torch
    try:
        for together in at_once:
            gate, results = context.Barrier(together), context.Queue()
            options = (plain, device, seconds, gate, results)
            processes = [context.Process(target=_train, args=options, daemon=True) for _ in range(together)]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            if any(process.exitcode for process in processes):
                raise RuntimeError(f"with {together} trials at once a process ended before the others")
            yield together, sum(results.get() for _ in processes)
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def _train(plain: dict[str, Any], device: str, seconds: float, gate: Barrier, results: Queue) -> None:
    import torch

    from prune_search.spec.config import TrialConfig
    from prune_search.training.data import cached_data
    from prune_search.training.trial import Trial

    torch.set_num_threads(1)
    try:
        config = TrialConfig.from_dict(plain)
        data = cached_data(config.data, device)
        with tempfile.TemporaryDirectory() as folder:
            trial = Trial(config, data, Path(folder), device=device)
            trial.run_epoch()
            gate.wait(PATIENCE)
            epochs, started = 0, time.perf_counter()
            while time.perf_counter() - started < seconds:
                trial.run_epoch()
                epochs += 1
            passed = time.perf_counter() - started
        results.put(epochs * len(data.train.labels) / passed)
    except BaseException:
        with suppress(Exception):
            gate.abort()
        raise
