"""One trial's configuration: concrete, frozen, checked.

Lengths in epochs, learning rates per step; text stands for a mapping with that name (``optimizer: sgd``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from prune_search.errors import nearest
from prune_search.pruning.recipe import Recipe, RecipeError, resolve
from prune_search.pruning.registry import AXES, parts
from prune_search.spec.document import KeyPath
from prune_search.spec.strict import ConfigError, Fraction, Strict, build, got, unknown_key
from prune_search.zoo.importing import is_import_path

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _gathered(section: type[Strict], value: object) -> object:
    """Keys beside the name of an imported function that are not the section's own become its options."""
    value = _named(value)
    if not isinstance(value, Mapping) or not is_import_path(str(value.get("name"))):
        return value
    if not isinstance(value.get("options", {}), Mapping):
        return value
    beside = {key: item for key, item in value.items() if key not in section.model_fields}
    own = {key: item for key, item in value.items() if key not in beside}
    return {**own, "options": {**own.get("options", {}), **beside}} if beside else own


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class DataConfig(Strict):
    """The dataset and its splits.

    Attributes:
        name: Built-in, torchvision's name, ``folder``, or ``package.module:function``.
        root: Where datasets lie; the folder itself for ``folder``.
        train_size, validation_size: Images; None: all that remain.
        augment: ``none``, ``flip``, ``crop`` or ``crop+flip``.
        split_seed: Draws train and validation.
        size: Height and width in pixels that image files are resized to.
        options: Keyword arguments for an imported function; they may also stand beside its name.
    """

    name: str = "digits"
    root: str = "data"
    train_size: int | None = Field(None, ge=1)
    validation_size: int | None = Field(None, ge=1)
    augment: Literal["none", "flip", "crop", "crop+flip"] = "none"
    split_seed: int = Field(0, ge=0)
    size: int | None = Field(None, ge=1)
    options: dict[str, object] = Field(default_factory=dict)


class ModelConfig(Strict):
    """The network.

    Attributes:
        name: Built-in, torchvision's name, or ``package.module:function``.
        checkpoint: Weights to start from: a path or a ``models:/`` URI.
        options: Keyword arguments for its builder; they may also stand beside an imported function's name.
    """

    name: str
    checkpoint: str | None = None
    options: dict[str, object] = Field(default_factory=dict)


class SgdConfig(Strict):
    """Stochastic gradient descent, as torch.optim.SGD."""

    name: Literal["sgd"] = "sgd"
    lr: Positive = 0.1
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> SgdConfig:
        if self.nesterov and self.momentum == 0:
            raise ValueError("momentum > 0 where nesterov is true")
        return self


class AdamWConfig(Strict):
    """AdamW, as torch.optim.AdamW."""

    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    betas: Annotated[tuple[Share, Share], BeforeValidator(_listed)] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: float = Field(0.01, ge=0)


OptimizerConfig = SgdConfig | AdamWConfig


class ScheduleConfig(Strict):
    """The learning rate over time.

    Attributes:
        horizon: One course over the whole trial, or one over each round between two events.
        warmup: Epochs of linear rise at the start of the horizon.
        milestones, gamma: ``step`` only: at these fractions of the horizon the rate is multiplied by gamma.
    """

    name: Literal["constant", "cosine", "onecycle", "step"] = "cosine"
    horizon: Literal["trial", "round"] = "trial"
    warmup: float = Field(0.0, ge=0)
    milestones: Annotated[tuple[Fraction, ...], BeforeValidator(_listed)] = (0.5, 0.75)
    gamma: float = Field(0.1, gt=0, le=1)

    @model_validator(mode="after")
    def _step_keys(self) -> ScheduleConfig:
        if self.name != "step" and {"milestones", "gamma"} & self.model_fields_set:
            raise ValueError(f"milestones and gamma with step alone; the name is '{self.name}'")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones that rise")
        return self


class TrainingConfig(Strict):
    """How a network is trained.

    Attributes:
        epochs: The hard cap on all epochs of a trial.
        clip_norm: The largest gradient norm, or None.
        loss: ``cross_entropy`` or ``package.module:function`` (logits, labels) -> mean loss.
        metric: ``accuracy`` or ``package.module:function`` (logits, labels) -> share in [0, 1].
        precision: ``auto`` is bf16 where the device is fast with it, else fp32.
        cuda_graphs: Whether a GPU gets a training step as a whole; ``auto``: not with a model or loss of the user's own, which
            might decide something anew at each step (Python's random numbers, a counter) that a graph would repeat.
        channels_last: Whether convolutions keep the channels of a position side by side in memory, as a GPU's matrix units
            and a CPU's vectors want them; ``auto``: not with a model of the user's own, which might ``view`` maps as they lay
            before.
        sync_batchnorm: Whether several workers on GPUs normalise by the statistics of the whole batch instead of their own share's.
            torch's SyncBatchNorm takes no tensors of a CPU: nothing changes there.
    """

    epochs: int = Field(ge=1)
    batch_size: int = Field(64, ge=1)
    optimizer: Annotated[Annotated[SgdConfig | AdamWConfig, Field(discriminator="name")], BeforeValidator(_named)] = (
        SgdConfig()
    )
    schedule: Annotated[ScheduleConfig, BeforeValidator(_named)] = ScheduleConfig()
    clip_norm: Positive | None = None
    label_smoothing: Share = 0.0
    loss: str = "cross_entropy"
    metric: str = "accuracy"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    cuda_graphs: bool | Literal["auto"] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    sync_batchnorm: bool = False

    @field_validator("loss", "metric")
    @classmethod
    def _built_in_or_import_path(cls, value: str, info) -> str:
        built_in = {"loss": "cross_entropy", "metric": "accuracy"}[info.field_name]
        if value != built_in and not is_import_path(value):
            raise ValueError(f"{built_in}, or an import path package.module:function")
        return value


SECTIONS = ("data", "model", "training", "recipe", "seed")


@dataclass(frozen=True)
class TrialConfig:
    """Everything that defines a trial; ``plain`` is what it was made of: nested, JSON-serialisable."""

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    recipe: Recipe
    seed: int
    plain: Mapping[str, object] = field(compare=False, repr=False)

    @classmethod
    def from_dict(cls, plain: Mapping[str, object]) -> TrialConfig:
        """Checks a sampled configuration.

        Args:
            plain: ``model``, ``training`` and ``recipe``; ``data`` (digits) and ``seed`` (0) may be missing.

        Raises:
            ConfigError: With the path of keys, what came and what is allowed.
        """
        for key in plain:
            if key not in SECTIONS:
                raise ConfigError((key,), unknown_key(key, SECTIONS))
        for key in ("model", "training", "recipe"):
            if key not in plain:
                raise ConfigError((), f"the key '{key}' is missing. Write {key}: ...")
        seed = plain.get("seed", 0)
        if type(seed) is not int or seed < 0:
            raise ConfigError(("seed",), got(seed, "a whole number >= 0"))
        return cls(
            data=build(DataConfig, _gathered(DataConfig, plain.get("data", {})), ("data",)),
            model=build(ModelConfig, _gathered(ModelConfig, plain["model"]), ("model",)),
            training=build(TrainingConfig, plain["training"], ("training",)),
            recipe=_recipe(plain["recipe"]),
            seed=seed,
            plain=plain,
        )


def _recipe(value: object) -> Recipe:
    if isinstance(value, Mapping) and not isinstance(value.get("preset", ""), str):
        raise ConfigError(("recipe", "preset"), got(value["preset"], "the name of a preset"))
    if isinstance(value, Mapping):
        _check_part_names(value)
    try:
        return resolve(value)
    except RecipeError as error:
        raise ConfigError(("recipe", *locate(value, error.path)), error.message) from None


def _check_part_names(recipe: Mapping[str, object]) -> None:
    """Raises at ``schedule: {cubik: {...}}``, which a recipe takes for a parameter of the preset's part."""
    for axis in AXES:
        inner = recipe.get(axis)
        for name, parameter in inner.items() if isinstance(inner, Mapping) else ():
            known = parts(axis)
            parameters = {item.name for part in known.values() for item in fields(part)}
            if isinstance(parameter, Mapping) and name not in known and name not in parameters:
                raise ConfigError(
                    ("recipe", axis, name),
                    f"no {axis} is called {name!r}. Allowed: {', '.join(known)}.{nearest(name, known)}",
                )


def locate(value: object, path: KeyPath) -> KeyPath:
    """The keys as the user wrote them for a path in the recipe they amount to.

    ``("schedule", "size-scaled", "b")`` is found under ``schedule.b`` and under ``schedule: {b: ...}`` too.
    """
    found: KeyPath = ()
    rest = list(path)
    while rest and isinstance(value, Mapping):
        key = rest[0] if rest[0] in value else next((key for key in value if _shortens(key, rest)), None)
        if key is None:
            rest.pop(0)
            continue
        for word in [key] if key == rest[0] else key.split("."):
            rest = rest[rest.index(word) + 1 :]
        found, value = (*found, key), value[key]
    return found


def _shortens(key: str, path: list[str]) -> bool:
    words = iter(path)
    return key.partition(".")[0] == path[0] and all(word in words for word in key.split("."))
