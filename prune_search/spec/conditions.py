"""Conditions on metrics: constraints and where-expressions. Importable without torch."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import inf, isinf, isnan, ulp

from prune_search.cost.metrics import METRICS
from prune_search.errors import UserError, nearest

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)(?![\w.])|(?P<op>>=|<=|==|>|<)"
    r"|(?P<paren>[()])|(?P<word>[A-Za-z_]\w*))"
)
_DEEPEST = 50  # parentheses; our choice
_HOW = 'Write <metric> <comparison> <number>, as in "accuracy >= 0.97 and params < 2e4". Allowed: >= <= > < ==.'


class Condition(ABC):
    """Something a trial's metrics fulfil or not. Frozen; made by the ``parse_`` functions of this module."""

    @abstractmethod
    def violation(self, metrics: Mapping[str, float | None]) -> float:
        """How far ``metrics`` are from fulfilling it, in the metric's own unit; <= 0: fulfilled, then the
        slack negative. A metric that is missing, None or NaN: inf.
        """

    def holds(self, metrics: Mapping[str, float | None]) -> bool:
        """Whether ``metrics`` fulfil it."""
        return self.violation(metrics) <= 0

    @abstractmethod
    def names(self) -> frozenset[str]:
        """The metrics it looks at."""


@dataclass(frozen=True)
class Comparison(Condition):
    """``metric op threshold``; ``str()`` gives text that parses to the same."""

    metric: str
    op: str
    threshold: float

    def violation(self, metrics: Mapping[str, float | None]) -> float:
        value = metrics.get(self.metric)
        if value is None or isnan(value):
            return inf
        excess = value - self.threshold
        if self.op == "==":
            return abs(excess)
        distance = excess if self.op.startswith("<") else -excess
        return ulp(0.0) if distance == 0 and self.op in ("<", ">") else distance

    def names(self) -> frozenset[str]:
        return frozenset({self.metric})

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {self.threshold!r}"


@dataclass(frozen=True)
class AllOf(Condition):
    """Every part holds; its violation is that of the worst part."""

    parts: tuple[Condition, ...]

    def violation(self, metrics: Mapping[str, float | None]) -> float:
        return max(part.violation(metrics) for part in self.parts)

    def names(self) -> frozenset[str]:
        return frozenset().union(*(part.names() for part in self.parts))

    def __str__(self) -> str:
        return " and ".join(f"({part})" if isinstance(part, AnyOf) else str(part) for part in self.parts)


@dataclass(frozen=True)
class AnyOf(Condition):
    """One part holds at least; its violation is that of the best part."""

    parts: tuple[Condition, ...]

    def violation(self, metrics: Mapping[str, float | None]) -> float:
        return min(part.violation(metrics) for part in self.parts)

    def names(self) -> frozenset[str]:
        return frozenset().union(*(part.names() for part in self.parts))

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts))


def parse_constraint(metric: str, text: str, *, names: Collection[str] = METRICS) -> Comparison:
    """A constraint on one metric, as in ``parse_constraint("accuracy", ">= 0.95")``.

    Raises:
        UserError: If there is no such metric, or ``text`` is not a comparison and a number.
    """
    _known(metric, names)
    parser = _Parser(str(text), names)
    condition = parser.comparison(metric)
    parser.end()
    return condition


def parse_where(text: str, *, names: Collection[str] = METRICS) -> Condition:
    """A where-expression, as in ``"accuracy >= 0.97 and params < 2e4"``; ``and`` binds closer than ``or``.

    Raises:
        UserError: If a metric is unknown or the text is not such an expression; the message says where.
    """
    parser = _Parser(text, names)
    condition = parser.either()
    parser.end()
    return condition


def _known(metric: str, names: Collection[str]) -> None:
    if metric not in names:
        hint = nearest(metric, names)
        raise UserError(f"Unknown metric '{metric}'.{hint} Metrics: {', '.join(sorted(names))}.")


class _Parser:
    """either = every ("or" every)*, every = atom ("and" atom)*, atom = "(" either ")" | comparison."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self.text, self.names = text, names
        self.tokens = [*self._tokens(), ("end", "", len(text))]
        self.at = self.open = 0

    def _tokens(self) -> Iterator[tuple[str, str, int]]:
        position, stop = 0, len(self.text.rstrip())
        while position < stop:
            match = _TOKEN.match(self.text, position)
            if not match:
                raise self._error(position)
            yield match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)
            position = match.end()

    def _error(self, position: int) -> UserError:
        rest = self.text[position:].strip()
        where = f"not understood from '{rest}' on" if rest else "something is missing at its end"
        return UserError(f"Condition '{self.text}': {where}. {_HOW}")

    def _take(self, kind: str, *words: str) -> str | None:
        found, text, _ = self.tokens[self.at]
        if found != kind or (words and text not in words):
            return None
        self.at += 1
        return text

    def _need(self, kind: str, *words: str) -> str:
        taken = self._take(kind, *words)
        if taken is None:
            raise self._error(self.tokens[self.at][2])
        return taken

    def either(self) -> Condition:
        parts = [self.every()]
        while self._take("word", "or"):
            parts.append(self.every())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def every(self) -> Condition:
        parts = [self.atom()]
        while self._take("word", "and"):
            parts.append(self.atom())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def atom(self) -> Condition:
        if self._take("paren", "("):
            self.open += 1
            if self.open > _DEEPEST:
                raise UserError(f"Condition '{self.text}': more than {_DEEPEST} parentheses in one another. {_HOW}")
            condition = self.either()
            self._need("paren", ")")
            self.open -= 1
            return condition
        metric = self._need("word")
        _known(metric, self.names)
        return self.comparison(metric)

    def comparison(self, metric: str) -> Comparison:
        op, position = self._need("op"), self.tokens[self.at][2]
        threshold = float(self._need("number"))
        if isinf(threshold):
            raise self._error(position)
        return Comparison(metric, op, threshold)

    def end(self) -> None:
        self._need("end")
