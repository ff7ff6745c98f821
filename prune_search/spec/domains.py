"""What may stand in place of a value: a range, a list of choices, or named choices with sub-spaces."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from prune_search.errors import nearest
from prune_search.spec.document import Document, KeyPath

Scalar = str | int | float | bool | None
RANGE_KEYS = ("low", "high", "log", "step")
MOST_STEPS = 1_000_000  # of a range of real numbers; our choice


def _check_range(low: float, high: float, log: bool, step: float | None) -> None:
    if low > high:
        raise ValueError(f"low {low} is above high {high}. Allowed: low <= high.")
    if log and low <= 0:
        raise ValueError(f"low {low} with log: true. Allowed: low > 0, or no log.")
    if step is not None and step <= 0:
        raise ValueError(f"step {step}. Allowed: step > 0.")
    if log and step is not None:
        raise ValueError(f"log: true with step {step}. Allowed: one of the two.")
    if math.isinf(high - low):
        raise ValueError(f"{low} to {high} is wider than a float can tell. Allowed: low and high nearer to each other.")


@dataclass(frozen=True)
class Float:
    """Real numbers in [low, high]; ``log``: even in the logarithm; ``step``: only low, low + step, ..."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log, self.step)
        if self.step is not None and (self.high - self.low) / self.step >= MOST_STEPS:
            raise ValueError(
                f"step {self.step} is too small for {self.low} to {self.high}. Allowed: {MOST_STEPS:,} steps."
            )

    def extremes(self) -> tuple[float, ...]:
        return (float(self.low), float(self.high)) if self.step is None else (self._at(0), self._at(self._steps()))

    def values(self) -> tuple[float, ...] | None:
        """All members, low first; None where there is no end to them."""
        if self.step is None:
            return (float(self.low),) if self.low == self.high else None
        return tuple(self._at(index) for index in range(self._steps() + 1))

    def _steps(self) -> int:
        low, high, step = (Decimal(str(number)) for number in (self.low, self.high, self.step))
        return int((high - low) / step)

    def _at(self, index: int) -> float:
        return float(Decimal(str(self.low)) + index * Decimal(str(self.step)))

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high


@dataclass(frozen=True)
class Int:
    """Whole numbers in [low, high]; ``log``: even in the logarithm; ``step``: only low, low + step, ..."""

    low: int
    high: int
    log: bool = False
    step: int | None = None

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log, self.step)

    def extremes(self) -> tuple[int, ...]:
        return (self.low, self.values()[-1])

    def values(self) -> Sequence[int]:
        """All members, low first."""
        return range(self.low, self.high + 1, self.step or 1)

    def __contains__(self, value: object) -> bool:
        return type(value) is int and value in self.values()


@dataclass(frozen=True)
class Categorical:
    """One of a few scalars or lists.

    ``options`` are what a sampler chooses among, all scalars: a list stands there as its JSON text.
    """

    choices: tuple[object, ...]

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError("choices is empty. Allowed: at least one choice.")
        for index, choice in enumerate(self.choices):
            if isinstance(choice, Mapping):
                raise ValueError(
                    f"choice {index + 1} is a mapping. Allowed in a list: text, numbers, true/false, null, "
                    "lists. Write named choices for sub-spaces: {choices: {name: {...}, ...}}."
                )
            if choice in self.choices[:index]:
                raise ValueError(f"the choice {choice!r} stands there twice. Keep one.")

    @property
    def options(self) -> tuple[Scalar, ...]:
        return tuple(json.dumps(item) if isinstance(item, list) else item for item in self.choices)

    def extremes(self) -> tuple[Scalar, ...]:
        return self.options

    def values(self) -> tuple[Scalar, ...]:
        return self.options

    def __contains__(self, value: object) -> bool:
        return any(value == option and type(value) is type(option) for option in self.options)


@dataclass(frozen=True)
class Branch:
    """One of a few named sub-spaces. ``options`` are the names; an option may have nothing to sample."""

    choices: Mapping[str, Mapping[str, object]]

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError("choices is empty. Allowed: at least one choice.")

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(self.choices)

    def extremes(self) -> tuple[str, ...]:
        return self.options

    def values(self) -> tuple[str, ...]:
        return self.options

    def __contains__(self, value: object) -> bool:
        return value in self.options


Domain = Float | Int | Categorical | Branch
DOMAINS = (Float, Int, Categorical, Branch)


def is_domain(value: object) -> bool:
    """Whether a plain value is written as a domain: a mapping with ``choices``, ``low`` or ``high``."""
    return isinstance(value, Mapping) and not {"choices", "low", "high"}.isdisjoint(value)


def parse_domains(document: Document, value: object, path: KeyPath) -> object:
    """The value with every domain in it as an object.

    Raises:
        UserError: A domain that has no members, lacks a bound or has keys that no domain has.
    """
    if is_domain(value):
        try:
            return _branch(document, value, path) if "choices" in value else _range(value)
        except ValueError as error:
            raise document.error(path, str(error)) from None
    if isinstance(value, Mapping):
        return {key: parse_domains(document, item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [parse_domains(document, item, (*path, str(index))) for index, item in enumerate(value)]
    return value


def forbid_domains(document: Document, value: object, path: KeyPath) -> None:
    """Raises where a domain stands in a section that is the same for all trials."""
    if is_domain(value):
        raise document.error(
            path,
            f"a domain cannot stand here: '{path[0]}' is the same for all trials. "
            "Write one value. Domains may stand in data, model, training, recipe and seed.",
        )
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        forbid_domains(document, item, (*path, str(key)))


def _branch(document: Document, value: Mapping[str, object], path: KeyPath) -> Categorical | Branch:
    beside = [key for key in value if key != "choices"]
    if beside:
        raise ValueError(f"unknown key '{beside[0]}' beside choices. Allowed: choices alone.")
    choices = value["choices"]
    if isinstance(choices, list):
        return Categorical(tuple(choices))
    if not isinstance(choices, Mapping):
        raise ValueError(
            f"choices is {choices!r}. Allowed: a list [a, b] or named sub-spaces {{a: {{...}}, b: {{...}}}}."
        )
    subspaces = {}
    for option, subspace in choices.items():
        here = (*path, "choices", option)
        if subspace is not None and (not isinstance(subspace, Mapping) or is_domain(subspace)):
            raise document.error(
                here, f"got {subspace!r}. Allowed: a mapping of keys to values or domains, or nothing."
            )
        subspaces[option] = parse_domains(document, subspace or {}, here)
    return Branch(subspaces)


def _range(value: Mapping[str, object]) -> Float | Int:
    for key in value:
        if key not in RANGE_KEYS:
            raise ValueError(
                f"unknown key '{key}' in a range. Allowed: {', '.join(RANGE_KEYS)}.{nearest(key, RANGE_KEYS)}"
            )
    for key in ("low", "high"):
        if key not in value:
            raise ValueError(f"the range has no {key}. Allowed: {{low, high}}, with log: true or step if you like.")
    low, high, log, step = value["low"], value["high"], value.get("log", False), value.get("step")
    for key, number in (("low", low), ("high", high), ("step", 1 if step is None else step)):
        if not _is_number(number) or not math.isfinite(number):
            raise ValueError(f"{key} is {number!r}. Allowed: a finite number.")
    if not isinstance(log, bool):
        raise ValueError(f"log is {log!r}. Allowed: true or false.")
    whole = all(isinstance(number, int) for number in (low, high, 1 if step is None else step))
    return (Int if whole else Float)(low, high, log, step)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
