"""Runs the jobs of a source on Ray Tune."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prune_search.search.jobs import Source
from prune_search.spec.settings import ResourcesConfig

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def connected(address: str | None, threads: int, roots: list[str]) -> Iterator[None]:
    """A Ray cluster: the one this process is connected to already, the one at ``address``, or one of our own on this
    machine that ends with the block.

    Args:
        address: ``auto``, ``HOST:PORT``, or None.
        threads: Torch threads for a trial, set before torch is imported in the workers.
        roots: Folders from which workers import the user's modules.
    """
    os.environ.update(_ENVIRONMENT)
    import ray

    if ray.is_initialized():
        yield
        return
    variables = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    variables |= {"RAY_CHDIR_TO_TRIAL_DIR": "0"}
    variables["PYTHONPATH"] = os.pathsep.join([*roots, *filter(None, [os.environ.get("PYTHONPATH")])])
    options: dict[str, Any] = {"address": address} if address else {"address": "local", "include_dashboard": False}
    ray.init(**options, runtime_env={"env_vars": variables}, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()


def resources(config: ResourcesConfig) -> tuple[float, float]:
    """(CPUs, GPUs) of one trial on the connected cluster; ``auto`` is a whole GPU where there are any."""
    import ray

    gpus = config.gpus_per_worker
    if gpus == "auto":
        gpus = 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
    return float(config.cpus_per_worker), float(gpus)


def slots(cpus: float, gpus: float) -> int:
    """How many trials fit on the cluster at once."""
    import ray

    have = ray.cluster_resources()
    fits = int(have.get("CPU", 1) // cpus) if cpus else 10**6
    return max(1, min(fits, int(have.get("GPU", 0) / gpus + 1e-9)) if gpus else fits)


def execute(
    source: Source,
    *,
    storage: Path,
    cpus: float,
    gpus: float,
    concurrency: int,
    measure: tuple[str, ...],
    stop: Callable[[], bool],
    prepare: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    """Train the jobs of ``source`` until it has no more or ``stop()`` is true. Results go to the source.

    Args:
        storage: Folder for Tune's own files.
        cpus: CPUs for one trial; also its torch threads.
        gpus: GPUs for one trial; fractions share one.
        concurrency: The most trials at once.
        measure: Metrics to measure beyond the usual ones.
        stop: Asked about twice a second; trials in flight are left at their last checkpoint.
        prepare: Applied to a job's configuration before a worker gets it.
    """
    from ray import tune

    from prune_search.search.adapter import Adapter, Scheduler, Stop
    from prune_search.training.worker import TrialWorker

    shared = {"threads": max(1, int(cpus)), "cpus": cpus, "gpus": gpus, "measure": list(measure)}
    trainable = tune.with_resources(TrialWorker, {"cpu": cpus, "gpu": gpus} if gpus else {"cpu": cpus})
    adapter = Adapter(source, stop, shared, prepare)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=adapter,
            scheduler=Scheduler(adapter),
            num_samples=-1,
            max_concurrent_trials=concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(storage),
            stop=Stop(stop),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=2),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    tuner.fit()
