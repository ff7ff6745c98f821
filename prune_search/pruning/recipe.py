"""A recipe: one part for each axis and what is common to all recipes. Importable without torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prune_search.errors import nearest
from prune_search.pruning.presets import PRESETS
from prune_search.pruning.registry import AXES, Part, hyper, parts, problem

LEAST_LONGEST_ROUND = 3


class RecipeError(ValueError):
    """A recipe that cannot be: ``path`` are the keys inside the recipe that lead to the mistake."""

    def __init__(self, path: tuple[str, ...], message: str):
        super().__init__(f"{'.'.join(path)}: {message}" if path else message)
        self.path, self.message = path, message


@dataclass(frozen=True)
class Round:
    """Limits around whatever stopping part a recipe has. Lengths below 1 are fractions of the trial's epochs.

    Attributes:
        min_epochs: A round is at least this long.
        max_epochs: A round ends after this many epochs at the latest; a fraction means three epochs at least, so that
            short trials have rounds too (our choice).
        accuracy_gate: An event comes only while validation accuracy is within this of the best before the first event.
        accuracy_exit: A round also ends once that best accuracy is reached again.
    """

    min_epochs: float = hyper(1, low=1, high=10, at_least=0)
    max_epochs: float = hyper(None, low=0.05, high=0.3, above=0, optional=True)
    accuracy_gate: float = hyper(None, low=0.002, high=0.1, log=True, at_least=0, at_most=1, optional=True)
    accuracy_exit: bool = hyper(False, choices=(False, True))

    def longest(self, epochs: int) -> int | None:
        """``max_epochs`` in epochs, for a trial of ``epochs``."""
        if self.max_epochs is None:
            return None
        return (
            max(LEAST_LONGEST_ROUND, length(self.max_epochs, epochs)) if self.max_epochs < 1 else round(self.max_epochs)
        )


@dataclass(frozen=True)
class AtStart:
    """Pruning at initialisation, before the first epoch: ``iterations`` events with fresh scores.

    Attributes:
        score, schedule, distribution: Parts; the schedule runs from 0 to its end over the iterations.
        iterations: SynFlow uses 100, one-shot scores 1.
    """

    score: Part
    schedule: Part
    distribution: Part
    iterations: int = hyper(1, low=1, high=200, log=True, at_least=1)


@dataclass(frozen=True)
class Recipe:
    """How a network becomes sparse while it trains. Lengths below 1 are fractions of the trial's epochs.

    Attributes:
        preset: The preset it started from, for display.
        at_start: Pruning before the first epoch, or None.
        round: Limits of a round.
        dense_epochs: No event before the end of this epoch.
        final_epochs: Epochs kept free of events at the end (at least one); also how long a trial goes on after its
            last event when no more can come.
        target_sparsity: No event goes beyond this share of the prunable weights.
        max_events: No more events than this.
        exclude: Names of layers (shell patterns) that are never pruned.
        floor: Share of each layer's units (weights, channels) that is always kept.
        recalibrate_batchnorm: Training batches used to re-estimate batch norm statistics after an event.
    """

    score: Part
    granularity: Part
    distribution: Part
    schedule: Part
    stopping: Part
    growth: Part
    rewind: Part
    regularizer: Part
    backward: Part
    removal: Part
    preset: str = "custom"
    at_start: AtStart | None = None
    round: Round = field(default_factory=Round)
    dense_epochs: float = hyper(1, low=0.02, high=0.3, at_least=0)
    final_epochs: float = hyper(0.3, low=0.1, high=0.6, at_least=0)
    target_sparsity: float = hyper(None, low=0.5, high=0.999, above=0, below=1, optional=True)
    max_events: int = hyper(None, low=1, high=20, at_least=0, optional=True)
    exclude: tuple[str, ...] = ()
    floor: float = hyper(0.0, low=0.001, high=0.05, log=True, at_least=0, below=1)
    recalibrate_batchnorm: int = hyper(0, low=0, high=100, at_least=0)

    def part_names(self) -> dict[str, str]:
        """The name of the part on each axis."""
        return {axis: getattr(self, axis).name for axis in AXES}

    @property
    def planned_sparsity(self) -> float:
        """Where the recipe itself says that it will end, in [0, 1): the final sparsity of its schedules, no more than
        ``target_sparsity``; where an adaptive schedule names none, ``target_sparsity``, or 0.
        """
        start = getattr(self.at_start.schedule, "final_sparsity", 0.0) if self.at_start else 0.0
        target = self.target_sparsity
        if self.schedule.name in ("none", "constant"):
            return start
        final = getattr(self.schedule, "final_sparsity", target)
        return max(start, final if target is None else min(final, target)) if final is not None else start

    def values(self) -> dict[str, Any]:
        """The whole recipe as plain values that :func:`resolve` reads back to an equal recipe."""
        plain: dict[str, Any] = {"preset": self.preset}
        plain |= {axis: _plain_part(getattr(self, axis)) for axis in AXES}
        plain["round"] = dataclasses.asdict(self.round)
        plain["exclude"] = list(self.exclude)
        if self.at_start is not None:
            plain["at_start"] = {axis: _plain_part(getattr(self.at_start, axis)) for axis in _AT_START}
            plain["at_start"]["iterations"] = self.at_start.iterations
        for name in _COMMON:
            plain[name] = getattr(self, name)
        return plain


_AT_START = ("score", "schedule", "distribution")
_COMMON = tuple(f.name for f in dataclasses.fields(Recipe) if "limits" in f.metadata)


def _plain_part(part: Part) -> dict[str, Any]:
    return {part.name: dataclasses.asdict(part)}


def length(value: float, epochs: int) -> int:
    """Epochs meant by a length: itself from 1 on, below 1 a fraction of ``epochs`` (at least one epoch; 0 is 0)."""
    if value >= 1 or value == 0:
        return round(value)
    return max(1, round(value * epochs))


def resolve(value: str | Mapping[str, Any]) -> Recipe:
    """Build a recipe from what stands in the YAML.

    Args:
        value: A preset's name, or a mapping: ``preset`` (default ``magnitude``), and any part or common value replaced.
            A part is ``name``, ``{name: {parameter: value}}``, or parameters of the preset's own part, nested
            (``schedule: {b: 12}``) or dotted (``schedule.b: 12``).

    Raises:
        RecipeError: With the path of keys and what is allowed.
    """
    if isinstance(value, str):
        value = {"preset": value}
    if not isinstance(value, Mapping):
        raise RecipeError((), f"got {value!r}. Allowed: a preset's name or a mapping")
    value = dict(value)
    preset = value.pop("preset", "magnitude")
    if preset not in PRESETS:
        raise RecipeError(
            ("preset",), f"no recipe is called {preset!r}.{nearest(preset, PRESETS)} Allowed: {', '.join(PRESETS)}"
        )
    merged = _merge(dict(PRESETS[preset]), value)
    known = (*AXES, "at_start", "round", "exclude", *_COMMON)
    for key in merged:
        if key not in known:
            raise RecipeError((key,), f"unknown key.{nearest(key, known)} Allowed: {', '.join(known)}")
    fields: dict[str, Any] = {axis: _part(axis, merged.pop(axis), (axis,)) for axis in AXES}
    fields["at_start"] = _at_start(merged.pop("at_start", None))
    fields["round"] = _plain(Round, merged.pop("round", {}), ("round",))
    fields["exclude"] = _exclude(merged.pop("exclude", ()))
    for item in dataclasses.fields(Recipe):
        if item.name in merged:
            _check(item, merged[item.name], (item.name,))
    recipe = Recipe(preset=preset, **fields, **merged)
    reason = compatible(recipe.part_names())
    if reason:
        raise RecipeError((), reason)
    return recipe


def part_names(value: str | Mapping[str, Any]) -> dict[str, str]:
    """The part on each axis of a concrete recipe value."""
    return resolve(value).part_names()


def compatible(chosen: Mapping[str, str]) -> str | None:
    """Why these parts (axis -> name, some axes may be missing) exclude each other; None if they do not."""
    for axis, name in chosen.items():
        for other, allowed in parts(axis)[name].requires.items():
            if other in chosen and chosen[other] not in allowed:
                return (
                    f"{axis} '{name}' does not work with {other} '{chosen[other]}'. "
                    f"Allowed for {other}: {', '.join(allowed)}"
                )
    return None


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it; inside a part, parameters are merged and other parts replace it."""
    for key, value in changes.items():
        key, _, inner = key.partition(".")
        if inner:
            value = {inner: value}
        if key in AXES and key in base and isinstance(value, Mapping) and not _names_part(key, value):
            name, parameters = _named(_part_value(base[key], (key,)))
            base[key] = {name: {**parameters, **value}}
        elif key == "round" and isinstance(value, Mapping):
            base[key] = {**base.get(key, {}), **value}
        elif key == "at_start" and isinstance(value, Mapping):
            base[key] = _merge(dict(base.get(key) or {}), value)
        else:
            base[key] = value
    return base


def _names_part(axis: str, value: Mapping[str, Any]) -> bool:
    """Whether a mapping is ``{part: {parameter: value}}``, rather than parameters of the part that is there."""
    return any(name in parts(axis) for name in value) or (len(value) == 1 and isinstance(*value.values(), Mapping))


def _part_value(value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, str) or (isinstance(value, Mapping) and len(value) == 1):
        return value
    raise RecipeError(path, f"got {value!r}. Allowed: one part's name, or {{name: {{parameter: value}}}}")


def _named(value: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(value, str):
        return value, {}
    ((name, parameters),) = value.items()
    return name, dict(parameters or {})


def _part(axis: str, value: Any, path: tuple[str, ...]) -> Part:
    known = parts(axis)
    value = _part_value(value, path)
    name = value if isinstance(value, str) else next(iter(value))
    if name not in known:
        raise RecipeError(path, f"no {axis} is called {name!r}.{nearest(name, known)} Allowed: {', '.join(known)}")
    inner = None if isinstance(value, str) else value[name]
    return _plain(known[name], inner or {}, (*path, name))


def _plain(cls: type, values: Any, path: tuple[str, ...]) -> Any:
    fields = {item.name: item for item in dataclasses.fields(cls)}
    if not isinstance(values, Mapping):
        raise RecipeError(path, f"got {values!r}. Allowed: a mapping of {', '.join(fields) or 'nothing'}")
    for name, value in values.items():
        if name not in fields:
            raise RecipeError(
                (*path, str(name)), f"unknown parameter.{nearest(name, fields)} Allowed: {', '.join(fields) or 'none'}"
            )
        _check(fields[name], value, (*path, name))
    return cls(**values)


def _check(item: dataclasses.Field, value: Any, path: tuple[str, ...]) -> None:
    reason = problem(item, value)
    if reason:
        raise RecipeError(path, f"got {value!r} ({type(value).__name__}), but it {reason}")


def _at_start(value: Any) -> AtStart | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise RecipeError(("at_start",), f"got {value!r}. Allowed: a mapping of {', '.join(_AT_START)}, iterations")
    value = {"distribution": "global", "iterations": 1, **value}
    for key in value:
        if key not in (*_AT_START, "iterations"):
            raise RecipeError(
                ("at_start", key), f"unknown key.{nearest(key, _AT_START)} Allowed: {', '.join(_AT_START)}, iterations"
            )
    for axis in _AT_START:
        if axis not in value:
            raise RecipeError(("at_start",), f"needs a {axis}")
    chosen = {axis: _part(axis, value[axis], ("at_start", axis)) for axis in _AT_START}
    _check(AtStart.__dataclass_fields__["iterations"], value["iterations"], ("at_start", "iterations"))
    return AtStart(**chosen, iterations=value["iterations"])


def _exclude(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise RecipeError(("exclude",), f"got {value!r}. Allowed: a list of layer names or patterns, such as [fc3]")
    return tuple(value)
