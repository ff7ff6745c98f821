"""Strategies against each other on one table: hypervolume over simulated device hours."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any, get_args

import numpy as np
from pydantic import TypeAdapter

from prune_search.errors import UserError, nearest
from prune_search.search.simulation.clock import Trace, simulate
from prune_search.search.simulation.surrogate import Surrogate
from prune_search.search.simulation.table import Table
from prune_search.spec.settings import SAMPLERS, EarlyStopping

HOUR = 3600
POINTS = 100


@dataclass(frozen=True)
class Strategy:
    """``SAMPLER[+STOPPING]``, such as ``tpe+moasha-schedule-aware``; a bare sampler stops nobody."""

    name: str
    sampler: str
    stopping: EarlyStopping

    @classmethod
    def parse(cls, text: str) -> Strategy:
        """
        Raises:
            UserError: No such sampler or rule.
        """
        sampler, _, stopping = text.strip().partition("+")
        rules = [get_args(kind.model_fields["name"].annotation)[0] for kind in get_args(EarlyStopping)]
        for word, allowed in ((sampler, SAMPLERS), (stopping or "none", rules)):
            if word not in allowed:
                raise UserError(
                    f"{text!r} is no strategy: {word!r} is unknown.{nearest(word, allowed)} Write SAMPLER or SAMPLER+STOPPING. "
                    f"Samplers: {', '.join(SAMPLERS)}. Stopping: {', '.join(rules)}."
                )
        return cls(text.strip(), sampler, TypeAdapter(EarlyStopping).validate_python({"name": stopping or "none"}))


@dataclass
class Comparison:
    """What each strategy did on each seed.

    Attributes:
        budget: Device seconds that each run had.
        traces: Strategy -> one trace for each seed; seed i is the same in all.
    """

    table: Table
    budget: float
    workers: int
    traces: dict[str, list[Trace]] = field(default_factory=dict)

    def ratios(self, first: str, other: str) -> list[float]:
        """For each seed: device time with which ``first`` has the final hypervolume of ``other``, over the time that took;
        infinite if it never had, 0 if there was nothing to reach.
        """
        pairs = zip(self.traces[first], self.traces[other], strict=True)
        return [a.reached(b.final) / b.reached(b.final) if b.final else 0.0 for a, b in pairs]

    def plain(self) -> dict[str, Any]:
        """JSON: curves with quartiles, final hypervolumes, ratios of the first strategy to each other one with a paired test."""
        first, *others = self.traces
        hours = np.linspace(0, self.budget, POINTS + 1)
        strategies = {name: self._strategy(name, hours) for name in self.traces}
        ratios = {other: self.ratios(first, other) for other in others}
        return {
            "workers": self.workers,
            "budget_device_hours": self.budget / HOUR,
            "reference": self.table.reference,
            "device_hours": (hours / HOUR).tolist(),
            "strategies": strategies,
            "device_hours_ratio": {other: _json(statistics.median(values)) for other, values in ratios.items()},
            "device_hours_ratio_quartiles": {
                other: [_json(value) for value in np.quantile(values, (0.25, 0.75), method="nearest")]
                for other, values in ratios.items()
            },
            "wilcoxon_p": {other: self._p(first, other) for other in others},
        }

    def _strategy(self, name: str, seconds: np.ndarray) -> dict[str, Any]:
        curves = np.array([[trace.at(when) for when in seconds] for trace in self.traces[name]])
        low, middle, high = np.quantile(curves, (0.25, 0.5, 0.75), axis=0)
        counts = sum((trace.counts for trace in self.traces[name]), Counter())
        return {
            "hypervolume": middle.tolist(),
            "quartiles": [low.tolist(), high.tolist()],
            "final": [trace.final for trace in self.traces[name]],
            "trials": {state: count / len(self.traces[name]) for state, count in counts.items()},
        }

    def _p(self, first: str, other: str) -> float:
        """Two-sided Wilcoxon signed-rank test that the ratios are 1, on their logarithms; never is the greatest."""
        from scipy.stats import wilcoxon

        logarithms = np.log(np.clip(self.ratios(first, other), 1e-6, 1e6))
        return float(wilcoxon(logarithms).pvalue) if logarithms.any() else 1.0


def compare(
    table: Table,
    strategies: Sequence[Strategy],
    *,
    workers: int,
    trials: int,
    seeds: int,
    processes: int = 1,
    done: Callable[[str, int, Trace], None] = lambda name, seed, trace: None,
) -> Comparison:
    """Every strategy on every seed, each with the device time of ``trials`` whole trials.

    Args:
        processes: Simulations at once; what they find does not depend on it.
        done: Called with strategy, seed and what it found, seed after seed.
    """
    comparison = Comparison(table, trials * table.full_seconds, workers, {each.name: [] for each in strategies})
    runs = [(each, seed) for seed in range(seeds) for each in strategies]
    with _spread(_Simulations(table, workers, trials), runs, processes) as traces:
        for (each, seed), trace in zip(runs, traces, strict=True):
            comparison.traces[each.name].append(trace)
            done(each.name, seed, trace)
    return comparison


class _Simulations:
    """Simulations on one table."""

    def __init__(self, table: Table, workers: int, trials: int):
        self._table, self._options = table, {"workers": workers, "trials": trials}
        self._surrogate: Surrogate | None = None

    def __call__(self, run: tuple[Strategy, int]) -> Trace:
        self._surrogate = self._surrogate or Surrogate(self._table)
        each, seed = run
        return simulate(self._table, self._surrogate, each.sampler, each.stopping, seed=seed, **self._options)


@contextmanager
def _spread(
    simulations: _Simulations, runs: Sequence[tuple[Strategy, int]], processes: int
) -> Iterator[Iterable[Trace]]:
    """The runs' traces in order, from so many new processes."""
    if processes == 1:
        yield map(simulations, runs)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _settle, (simulations,)) as pool:
        yield pool.map(_simulated, runs)


_settled: list[_Simulations] = []


def _settle(simulations: _Simulations) -> None:
    _settled.append(simulations)


def _simulated(run: tuple[Strategy, int]) -> Trace:
    return _settled[0](run)


def figure(comparison: Comparison) -> Any:
    """Medians with quartile bands, as a plotly figure."""
    import plotly.graph_objects as go
    from plotly.colors import qualitative

    plain = comparison.plain()
    hours = plain["device_hours"]
    fig = go.Figure()
    for colour, (name, curves) in zip(qualitative.Safe * 9, plain["strategies"].items(), strict=False):
        low, high = curves["quartiles"]
        shade = colour.replace("rgb", "rgba").replace(")", ", 0.15)")
        fig.add_scatter(x=hours + hours[::-1], y=high + low[::-1], fill="toself", fillcolor=shade, mode="lines",
                        line={"width": 0}, showlegend=False, hoverinfo="skip", legendgroup=name)  # fmt: skip
        fig.add_scatter(x=hours, y=curves["hypervolume"], name=name, line={"color": colour}, legendgroup=name)
    fig.update_layout(template="simple_white", height=480, legend={"orientation": "h", "y": 1.1})
    fig.update_xaxes(title="device hours (simulated)")
    fig.update_yaxes(title="hypervolume of the front")
    return fig


def _json(value: float) -> float | None:
    """None for never."""
    return float(value) if math.isfinite(value) else None
