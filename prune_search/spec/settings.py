"""What is the same for all trials of a search: objectives, constraints, search, resources, tracking."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from prune_search.cost.metrics import METRICS, OBJECTIVES
from prune_search.errors import UserError, nearest
from prune_search.spec.conditions import Condition, parse_constraint
from prune_search.spec.document import Document
from prune_search.spec.strict import Strict, got

DIRECTIONS = ("maximize", "minimize")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"^(?:\d+(?:\.\d+)?[smhd]\s*)+$")
DEFAULT_TRIALS = 40
Sampler = Literal["tpe", "nsgaii", "nsgaiii", "gp", "qmc", "random", "grid", "auto"]
SAMPLERS = get_args(Sampler)
LIMITS = ("trials", "time", "device_time", "patience")


def seconds(value: object) -> object:
    """Seconds in a duration: ``90s``, ``30m``, ``1h30m``, ``2d``, or a number of seconds."""
    if value is None:
        return None
    if isinstance(value, str) and _DURATION.match(value.strip()):
        value = sum(float(count) * SECONDS[unit] for count, unit in re.findall(r"([\d.]+)([smhd])", value))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ValueError("a duration such as 90s, 30m, 2h, 1h30m, or seconds above 0")
    return float(value)


def _grace(value: object) -> object:
    return 0.0 if value == 0 else seconds(value)


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _auto_or(value: object, whole: bool, low: float) -> object:
    is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if value != "auto" and not (is_number and low <= value < float("inf")):
        raise ValueError(f"auto, or a {'whole ' if whole else ''}number >= {low}")
    return value


class NoStopping(Strict):
    """Every trial runs to its end."""

    name: Literal["none"] = "none"


class Moasha(Strict):
    """Asynchronous successive halving on all objectives; see ``search/early/halving.py``."""

    name: Literal["moasha"]
    reduction: int = Field(3, ge=2)
    rungs: int = Field(3, ge=1)


class Hyperband(Strict):
    """The bracketed form of ``moasha``."""

    name: Literal["hyperband"]
    reduction: int = Field(3, ge=2)
    brackets: int = Field(3, ge=1)


class ScheduleAware(Strict):
    """Stops what would hardly reach the front; see ``search/early/forecast.py``."""

    name: Literal["moasha-schedule-aware"] = "moasha-schedule-aware"
    neighbours: int = Field(5, ge=1)
    chance: float = Field(0.0, ge=0, lt=1)
    checks: int = Field(16, ge=2)
    first: int = Field(10, ge=1)


class Asha(Strict):
    """Ray Tune's AsyncHyperBandScheduler, for one objective."""

    name: Literal["asha"]
    reduction: int = Field(3, ge=2)


class Median(Strict):
    """Optuna's MedianPruner, for one objective."""

    name: Literal["median"]
    startup: int = Field(5, ge=0)


class SuccessiveHalving(Strict):
    """Optuna's SuccessiveHalvingPruner, for one objective."""

    name: Literal["successive-halving"]
    reduction: int = Field(3, ge=2)


EarlyStopping = NoStopping | Moasha | Hyperband | ScheduleAware | Asha | Median | SuccessiveHalving
ONE_OBJECTIVE = ("asha", "median", "successive-halving")


class SearchConfig(Strict):
    """How to search.

    Attributes:
        trials: How many; 40 if nothing is said of when to end. None: until another limit is reached.
        time: Seconds (written as 30m, 2h, 90s), or None.
        device_time: Seconds that all trials together may hold devices (cores without a GPU), or None; no trial begins after.
        patience: The search ends after so many trials in a row that added nothing to the hypervolume; None: never.
        grace: Seconds that running trials have when ``time`` is over.
        concurrency: Trials at once; ``auto`` fills the machine.
        seed: Of the sampler; what is trained is seeded by the top-level ``seed``.
        deterministic: The same search again for the same seed, whatever the timing.
        batch: Trial n is asked from the results of trials 0..n - batch only, where deterministic.
        early_stopping: Who is stopped before the end; nobody where the sampler is ``grid`` and nothing else is said.
        storage: URL of Optuna's storage; None: a file in the search's directory.
        enqueue: Configurations to try first, nested or flat; what they leave out is sampled.
        reuse: Whether a trial takes over epochs that another one trained alike, bit for bit, from a folder of the search; ``auto``:
            where that can happen, since nothing outside the recipe is sampled from a range without steps.
        keep: Whose checkpoints stay once they have ended: of the ``front``'s trials or of ``all``; `prune-search rerun` trains one again.
        defaults_first: Try each preset of the space with its own values next.
        warm_start: Earlier searches in the same runs directory, whose fronts are tried first as far as this space has them.
    """

    sampler: Sampler = "tpe"
    trials: int | None = Field(None, ge=1)
    time: Annotated[float | None, BeforeValidator(seconds)] = None
    device_time: Annotated[float | None, BeforeValidator(seconds)] = None
    patience: int | None = Field(None, ge=1)
    grace: Annotated[float, BeforeValidator(_grace)] = 0.0
    concurrency: int | Literal["auto"] = "auto"
    seed: int = Field(0, ge=0)
    deterministic: bool = False
    batch: int = Field(8, ge=1)
    storage: str | None = None
    early_stopping: Annotated[Annotated[EarlyStopping, Field(discriminator="name")], BeforeValidator(_named)] = (
        ScheduleAware()
    )
    enqueue: list[dict[str, object]] = Field(default_factory=list)
    reuse: bool | Literal["auto"] = "auto"
    keep: Literal["front", "all"] = "front"
    defaults_first: bool = True
    warm_start: list[str] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _whole_grid(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("sampler") == "grid" and "early_stopping" not in value:
            return {**value, "early_stopping": "none"}
        return value

    @model_validator(mode="before")
    @classmethod
    def _ends(cls, value: object) -> object:
        if isinstance(value, dict) and all(value.get(limit) is None for limit in LIMITS):
            if "trials" in value:
                raise ValueError(f"at least one of {', '.join(LIMITS)}; without one the search would never end")
            return {**value, "trials": DEFAULT_TRIALS}
        return value

    @field_validator("concurrency", mode="before")
    @classmethod
    def _auto_or_slots(cls, value: object) -> object:
        return _auto_or(value, whole=True, low=1)

    @field_validator("storage")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and "://" not in value:
            raise ValueError("null, or a URL such as sqlite:///study.db or postgresql://user@host/db")
        return value


class ResourcesConfig(Strict):
    """What one trial holds: ``workers`` processes that train it together, each with its share of every batch.

    ``gpus_per_worker``: ``auto`` is 0 without GPUs. ``placement``: ``pack`` the workers of a trial on one node where they fit, or
    ``spread`` them over nodes. ``storage``: where the nodes share no file system, an absolute path or URL for fsspec (s3://, gs://, ...)
    under which trials keep a copy of their folders; null: every node sees the runs directory.
    """

    workers: int = Field(1, ge=1)
    cpus_per_worker: float = Field(1.0, gt=0)
    gpus_per_worker: int | float | Literal["auto"] = "auto"
    placement: Literal["pack", "spread"] = "pack"
    storage: str | None = None

    @property
    def threads(self) -> int:
        """Of a worker: its whole CPUs, at least one."""
        return max(1, int(self.cpus_per_worker))

    @model_validator(mode="after")
    def _whole(self) -> ResourcesConfig:
        if self.workers > 1 and self.gpus_per_worker != "auto" and 0 < self.gpus_per_worker < 1:
            raise ValueError("a whole gpus_per_worker with several workers; NCCL does not share a GPU")
        return self

    @field_validator("storage")
    @classmethod
    def _place(cls, value: str | None) -> str | None:
        if value is not None and "://" not in value and not value.startswith("/"):
            raise ValueError("null, an absolute path, or a URL such as s3://bucket/folder")
        return value

    @field_validator("gpus_per_worker", mode="before")
    @classmethod
    def _auto_or_number(cls, value: object) -> object:
        return _auto_or(value, whole=False, low=0)


class TrackingConfig(Strict):
    """Where MLflow keeps its runs."""

    uri: str = "sqlite:///runs/mlflow.db"


def read_objectives(document: Document) -> dict[str, str]:
    """Metric -> maximize or minimize, in the order of the file.

    Raises:
        UserError: None are given, a metric is no objective, a direction is no direction.
    """
    example = "Write objectives: {accuracy: maximize, params: minimize}."
    if "objectives" not in document.tree:
        raise document.error((), f"the key 'objectives' is missing. {example}")
    given = document.tree["objectives"]
    if not isinstance(given, dict) or not given:
        raise document.error(("objectives",), f"{got(given, 'a mapping with at least one metric')} {example}")
    for metric, direction in given.items():
        if metric not in OBJECTIVES:
            raise document.error(("objectives", metric), _no_metric(metric, OBJECTIVES))
        if direction not in DIRECTIONS:
            raise document.error(
                ("objectives", metric),
                got(direction, " or ".join(DIRECTIONS)) + nearest(direction, DIRECTIONS),
            )
    return dict(given)


def read_constraints(document: Document) -> tuple[Condition, ...]:
    """The conditions that a trial must meet to be on the front.

    Raises:
        UserError: A metric that the search does not see, or a text that is no condition.
    """
    given = document.tree.get("constraints") or {}
    if not isinstance(given, dict):
        raise document.error(("constraints",), got(given, "a mapping such as {accuracy: '>= 0.95'}"))
    seen = [metric for metric in METRICS if metric != "test_accuracy"]
    conditions = []
    for metric, texts in given.items():
        path = ("constraints", metric)
        if metric not in seen:
            raise document.error(path, _no_metric(metric, seen))
        for text in texts if isinstance(texts, list) else [texts]:
            if not isinstance(text, str):
                raise document.error(path, got(text, "a condition such as '>= 0.95'"))
            try:
                conditions.append(parse_constraint(metric, text))
            except UserError as error:
                raise document.error(path, str(error)) from None
    return tuple(conditions)


def _no_metric(metric: str, allowed) -> str:
    why = " It is measured after the search, which never sees it." if metric == "test_accuracy" else ""
    return f"no such metric.{why} Allowed: {', '.join(allowed)}.{nearest(metric, allowed)}"
