"""The registry of parts: which methods exist on which axis, with their parameters, limits and ranges.

Importable without torch, so that a search space can be validated before anything heavy is loaded. A part registers
itself with one decorator in its own file; every module below ``prune_search/pruning/<axis>/`` is found by itself.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

AXES: dict[str, str] = {
    "score": "which weights matter least?",
    "granularity": "in what unit?",
    "distribution": "how is the amount spread over the layers?",
    "schedule": "how much is pruned at an event?",
    "stopping": "when does a round of training end, so that the next event comes?",
    "growth": "which removed weights come back at an event?",
    "rewind": "what is restored at an event?",
    "regularizer": "what pushes weights to zero between events?",
    "backward": "whose gradient is not computed?",
    "removal": "when does the network shrink?",
}


class Part:
    """Base of all parts: a frozen dataclass of hyper-parameters. Filled in by :func:`part`."""

    axis: ClassVar[str]
    name: ClassVar[str]
    source: ClassVar[str]
    requires: ClassVar[Mapping[str, tuple[str, ...]]]
    needs: ClassVar[tuple[str, ...]]

    def reshape(self, state: dict, kept: Mapping[str, Sequence]) -> None:
        """The network shrank: slice tensors of ``state`` that follow parameters. Default: it holds none."""


_PARTS: dict[str, dict[str, type[Part]]] = {axis: {} for axis in AXES}


def hyper(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    log: bool = False,
    choices: Sequence | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    optional: bool = False,
) -> Any:
    """A hyper-parameter of a part.

    ``low``, ``high``, ``log`` and ``choices`` are the range a search should try; ``at_least``, ``at_most``, ``above``
    and ``below`` are the limits outside which a value makes no sense (``choices`` is also a limit). ``optional``
    admits None.
    """
    limits = {"at_least": at_least, "at_most": at_most, "above": above, "below": below}
    metadata = {
        "range": {k: v for k, v in (("low", low), ("high", high), ("log", log or None)) if v is not None},
        "choices": tuple(choices) if choices is not None else None,
        "limits": {k: v for k, v in limits.items() if v is not None},
        "optional": optional,
    }
    return dataclasses.field(default=default, metadata=metadata)


def part(
    axis: str,
    name: str,
    *,
    source: str,
    requires: Mapping[str, tuple[str, ...]] | None = None,
    needs: tuple[str, ...] = (),
) -> Callable[[type], type]:
    """Register a class as the part ``name`` of ``axis`` and make it a frozen dataclass.

    Args:
        axis: One of :data:`AXES`.
        name: As written in the YAML.
        source: Where the method comes from (paper, section, or "our choice").
        requires: For other axes, the parts this one works with; axes not named are free.
        needs: Names of measurements the part reads through ``context.measure``.
    """

    def register(cls: type) -> type:
        if name in _PARTS[axis]:
            raise ValueError(f"two parts are called '{name}' on the axis '{axis}'")
        cls = dataclasses.dataclass(frozen=True)(cls)
        cls.axis, cls.name, cls.source = axis, name, source
        cls.requires, cls.needs = dict(requires or {}), needs
        _PARTS[axis][name] = cls
        return cls

    return register


@functools.cache
def _discover() -> None:
    for axis in AXES:
        package = importlib.import_module(f"prune_search.pruning.{axis}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")


def parts(axis: str) -> dict[str, type[Part]]:
    """All parts of an axis by name, in alphabetical order."""
    _discover()
    return dict(sorted(_PARTS[axis].items()))


def problem(field: dataclasses.Field, value: Any) -> str | None:
    """Why ``value`` is no value for the hyper-parameter ``field``; None if it is one."""
    meta = field.metadata
    if value is None:
        return None if meta["optional"] else "is missing a value"
    if meta["choices"] is not None:
        allowed = ", ".join(map(str, meta["choices"]))
        return None if value in meta["choices"] else f"must be one of {allowed}"
    kind = "true or false" if field.type == "bool" else "a whole number" if field.type == "int" else "a number"
    if kind == "true or false":
        return None if isinstance(value, bool) else f"must be {kind}"
    if isinstance(value, bool) or not isinstance(value, int if kind == "a whole number" else (int, float)):
        return f"must be {kind}"
    if not math.isfinite(value):
        return "must be finite"
    limits = meta["limits"]
    words = {"at_least": ">=", "at_most": "<=", "above": ">", "below": "<"}
    holds = {
        "at_least": lambda limit: value >= limit,
        "at_most": lambda limit: value <= limit,
        "above": lambda limit: value > limit,
        "below": lambda limit: value < limit,
    }
    if all(holds[word](limit) for word, limit in limits.items()):
        return None
    return "must be " + " and ".join(f"{words[word]} {limit}" for word, limit in limits.items())
