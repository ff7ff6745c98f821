"""Runs the jobs of a source on Ray Tune."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_search.errors import UserError
from prune_search.search.jobs import Source
from prune_search.spec.settings import ResourcesConfig

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # nobody reads Tune's snapshots: the study is the truth
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def connected(address: str | None, threads: int, roots: Sequence[str], modules: Sequence[Path] = ()) -> Iterator[None]:
    """A Ray cluster: the one this process is connected to already, the one at ``address``, or one of our own on this
    machine that ends with the block.

    Args:
        address: ``auto``, ``HOST:PORT``, or None.
        threads: Torch threads for a trial, set before torch is imported in the workers.
        roots: Folders from which workers import the user's modules.
        modules: Those modules and packages themselves, sent to the nodes of a cluster at an address.

    Raises:
        UserError: Nothing answers at the address.
    """
    os.environ.update(_ENVIRONMENT)
    import ray

    if ray.is_initialized():
        yield
        return
    variables = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    variables |= {"RAY_CHDIR_TO_TRIAL_DIR": "0"}
    variables["PYTHONPATH"] = os.pathsep.join([*roots, *filter(None, [os.environ.get("PYTHONPATH")])])
    if address:
        environment: dict[str, Any] = {"env_vars": variables}
        if modules:
            environment["py_modules"] = [str(module) for module in modules]
        options, inherited = {"address": address, "runtime_env": environment}, {}
    else:  # a runtime environment would leave the workers that Ray starts at once unused
        options, inherited = {"address": "local", "include_dashboard": False}, variables
    _keep_token_private()
    try:
        with _environment(inherited):
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        if not address:
            raise
        raise UserError(
            f"--address {address}: no Ray cluster answers there: {_cause(error)}. Look at it with `ray status --address {address}`; "
            "one that was started with a token wants RAY_AUTH_MODE=token here and on every node."
        ) from None
    _keep_token_private()
    try:
        yield
    finally:
        ray.shutdown()


def _keep_token_private() -> None:
    """Whoever reads the token of a Ray may run code there, and Ray (2.60) writes it for all on the machine to read."""
    folder = Path.home() / ".ray"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "auth_token").chmod(0o600)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """What processes started within inherit."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().split("\n")[0].rstrip(".")


@dataclass(frozen=True)
class Share:
    """What one trial holds of a cluster: ``workers`` bundles of ``cpus`` and ``gpus``, placed together or apart."""

    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    placement: str = "pack"

    @property
    def bundle(self) -> dict[str, float]:
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})

    def slots(self, nodes: Iterable[Mapping[str, float]]) -> int:
        """How many trials fit at once on nodes with these resources."""
        fits = lambda node: min(int(node.get(name, 0) / amount + 1e-9) for name, amount in self.bundle.items())
        return sum(map(fits, nodes)) // self.workers


def resources(config: ResourcesConfig, address: str | None) -> tuple[Share, int]:
    """What one trial holds on the connected cluster, and how many fit at once; ``auto`` is a whole GPU where there are any.

    Raises:
        UserError: Not even one fits on this machine. A cluster at an address may grow.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = config.gpus_per_worker
    if gpus == "auto":
        gpus = 1.0 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0.0
    share = Share(config.workers, float(config.cpus_per_worker), float(gpus), config.placement)
    slots = share.slots(nodes)
    if not slots and address is None:
        have = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise UserError(
            f"resources: a trial holds {share.workers} x ({share.cpus:g} CPUs and {share.gpus:g} GPUs), this machine has {have}. "
            "Set resources.workers, cpus_per_worker or gpus_per_worker lower, or name a cluster with --address."
        )
    return share, max(1, slots)


def execute(
    source: Source,
    *,
    storage: Path,
    share: Share,
    concurrency: int,
    measure: tuple[str, ...],
    stop: Callable[[], bool],
    prepare: Callable[[dict[str, Any]], dict[str, Any]],
    stages: Mapping[str, Any] | None = None,
) -> None:
    """Train the jobs of ``source`` until it has no more or ``stop()`` is true. Results go to the source.

    Args:
        storage: Folder for Tune's own files.
        share: What one trial holds. The CPUs of a worker are its torch threads, too; fractions of a GPU share one.
        concurrency: The most trials at once.
        measure: Metrics to measure beyond the usual ones.
        stop: Asked about twice a second; trials in flight are left at their last checkpoint.
        prepare: Applied to a job's configuration before a worker gets it.
        stages: Folder and ``pruned`` of :class:`prune_search.training.stages.Stages`; None: every trial trains all of its epochs.
    """
    from ray import tune

    from prune_search.search.adapter import Adapter, Scheduler, Silent, Stop
    from prune_search.training.worker import TrialWorker

    shared = {"threads": max(1, int(share.cpus)), "cpus": share.cpus, "gpus": share.gpus, "workers": share.workers}
    shared |= {"measure": list(measure), "stages": stages}
    bundles = [share.bundle] if share.workers == 1 else [{}, *[share.bundle] * share.workers]
    placed = tune.PlacementGroupFactory(bundles, strategy=share.placement.upper())
    trainable = tune.with_resources(TrialWorker, placed)
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
            progress_reporter=Silent(),
            failure_config=tune.FailureConfig(max_failures=2),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    tuner.fit()
