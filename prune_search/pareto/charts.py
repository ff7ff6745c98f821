"""The figures of a report beside the front, as plotly figures. They get plain numbers; what they mean is said by the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prune_search.pareto.scale import LOGARITHMIC

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_QUIET, _LOUD = "#c3c9d1", "#1f5fbf"
_STYLE: dict[str, Any] = {"template": "simple_white", "margin": {"l": 60, "r": 20, "t": 40, "b": 50}}


@dataclass(frozen=True)
class Curve:
    """What one trial reported, epoch by epoch."""

    name: str
    epochs: Sequence[int]
    accuracy: Sequence[float]
    params: Sequence[int]


@dataclass(frozen=True)
class Layer:
    """A layer of the dense network, and what is left of it: weights that are not zero, multiply-accumulates of an input."""

    name: str
    weights: int
    live: int
    macs: int
    live_macs: int


def history(hours: Sequence[float], device_hours: Sequence[float], volumes: Sequence[float]) -> Figure:
    """Hypervolume after each ended trial, against time and against device time."""
    from plotly.subplots import make_subplots

    fig = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    for column, (times, title) in enumerate(((hours, "time"), (device_hours, "device time of ended trials")), 1):
        values, unit = _readable(times)
        fig.add_scatter(x=values, y=list(volumes), mode="lines", line={"shape": "hv", "color": _LOUD}, row=1, col=column,
                        showlegend=False, hovertemplate="%{y:.4f} after %{x:.3g} " + unit + "<extra></extra>")  # fmt: skip
        fig.update_xaxes(title=f"{title} ({unit})", rangemode="tozero", row=1, col=column)
    fig.update_yaxes(title="hypervolume of the front", rangemode="tozero", row=1, col=1)
    return fig.update_layout(height=320, **_STYLE)


def shares(tried: Sequence[Mapping[str, str]], front: Sequence[Mapping[str, str]]) -> Figure:
    """How often each part of a recipe was tried, and is on the front: axis -> part of completed trials, of front members.

    Axes on which all tried the same part are left out.
    """
    import plotly.graph_objects as go

    axes = [axis for axis in (tried[0] if tried else {}) if len({parts[axis] for parts in tried}) > 1]
    rows = [(axis, part) for axis in axes for part in sorted({parts[axis] for parts in tried})]
    labels = [[axis for axis, _ in rows], [part for _, part in rows]]

    def bars(trials: Sequence[Mapping[str, str]], name: str, color: str) -> go.Bar:
        counts = [sum(parts[axis] == part for parts in trials) for axis, part in rows]
        return go.Bar(y=labels, x=[count / max(1, len(trials)) for count in counts], orientation="h", name=name,
                      marker={"color": color}, customdata=counts,
                      hovertemplate="%{customdata} of " + str(len(trials)) + " (%{x:.0%})")  # fmt: skip

    fig = go.Figure([bars(tried, "completed trials", _QUIET), bars(front, "front", _LOUD)])
    fig.update_yaxes(autorange="reversed", title=None)
    fig.update_xaxes(tickformat=".0%", range=[0, 1.02])
    return fig.update_layout(
        height=160 + 34 * len(rows), legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"}, **_STYLE
    )


def parallel(rows: Sequence[Mapping[str, float | str]], colour: str) -> Figure:
    """A line for each trial through what it was given and what came of it.

    Args:
        rows: Name -> value of each trial; all have the same names. Words become steps, counts decades.
        colour: The name whose value is the colour of the lines.
    """
    import numpy as np
    import plotly.graph_objects as go

    def dimension(name: str) -> dict[str, Any]:
        values = [row[name] for row in rows]
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            if name not in LOGARITHMIC and not _decades(values):
                return {"label": name, "values": values}
            exponents = np.log10(np.maximum(np.asarray(values, float), 1e-300))
            ticks = np.linspace(exponents.min(), exponents.max(), 5)
            return {
                "label": name,
                "values": exponents.tolist(),
                "tickvals": ticks.tolist(),
                "ticktext": [f"{10**t:.2g}" for t in ticks],
            }
        words = sorted({str(value) for value in values})
        positions = [words.index(str(value)) for value in values]
        return {"label": name, "values": positions, "tickvals": list(range(len(words))), "ticktext": words}

    names = list(rows[0]) if rows else []
    line = {
        "color": [row[colour] for row in rows],
        "colorscale": "Viridis",
        "showscale": True,
        "colorbar": {"title": {"text": colour}},
    }
    fig = go.Figure(
        go.Parcoords(line=line, dimensions=[dimension(name) for name in names], labelangle=-20, labelside="top")
    )
    return fig.update_layout(height=460, **{**_STYLE, "margin": {"l": 80, "r": 60, "t": 110, "b": 30}})


def importances(values: Mapping[str, Mapping[str, float]]) -> Figure:
    """Objective -> parameter -> share of the objective's variation that it explains; the most important of all on top."""
    import plotly.graph_objects as go

    names = {name for shares in values.values() for name in shares}
    order = sorted(names, key=lambda name: (-max(shares.get(name, 0.0) for shares in values.values()), name))
    bars = [
        go.Bar(
            y=order,
            x=[shares.get(name, 0.0) for name in order],
            name=objective,
            orientation="h",
            hovertemplate="%{y}: %{x:.1%}",
        )
        for objective, shares in values.items()
    ]
    fig = go.Figure(bars)
    fig.update_yaxes(autorange="reversed")
    fig.update_xaxes(tickformat=".0%")
    return fig.update_layout(
        height=140 + 16 * len(order) * max(1, len(values)),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        **_STYLE,
    )


def curves(trials: Sequence[Curve]) -> Figure:
    """Validation accuracy and parameters of trials after each epoch; the same colour on both sides."""
    from plotly.colors import sample_colorscale
    from plotly.subplots import make_subplots

    fig = make_subplots(1, 2, horizontal_spacing=0.08)
    colours = sample_colorscale("Viridis", [i / max(1, len(trials) - 1) for i in range(len(trials))]) if trials else []
    for trial, colour in zip(trials, colours, strict=True):
        for column, values in ((1, trial.accuracy), (2, trial.params)):
            fig.add_scatter(x=list(trial.epochs), y=list(values), name=trial.name, legendgroup=trial.name, showlegend=column == 1,
                            mode="lines", line={"color": colour, "width": 1.5}, row=1, col=column,
                            hovertemplate="epoch %{x}: %{y:.5g}")  # fmt: skip
    fig.update_xaxes(title="epoch")
    fig.update_yaxes(title="validation accuracy", row=1, col=1)
    fig.update_yaxes(title="parameters", type="log", row=1, col=2)
    return fig.update_layout(height=420, legend={"font": {"size": 11}}, **_STYLE)


def layers(network: Sequence[Layer]) -> Figure:
    """What is left of each layer's weights and multiply-accumulates, as shares of the dense network's; in the network's order."""
    import plotly.graph_objects as go

    names = [layer.name for layer in network]

    def bars(label: str, colour: str, pairs: Sequence[tuple[int, int]]) -> go.Bar:
        return go.Bar(x=names, y=[left / whole if whole else None for whole, left in pairs], name=label, marker={"color": colour},
                      customdata=[[left, whole] for whole, left in pairs],
                      hovertemplate="%{x}: %{customdata[0]:,} of %{customdata[1]:,} (%{y:.2%})")  # fmt: skip

    fig = go.Figure([
        bars("weights left", _LOUD, [(layer.weights, layer.live) for layer in network]),
        bars("multiply-accumulates left", _QUIET, [(layer.macs, layer.live_macs) for layer in network]),
    ])  # fmt: skip
    fig.update_yaxes(tickformat=".0%", rangemode="tozero")
    fig.update_xaxes(type="category")
    return fig.update_layout(height=360, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"}, **_STYLE)


def _decades(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > 50


def _readable(hours: Sequence[float]) -> tuple[list[float], str]:
    """Hours as the unit in which one reads them best."""
    longest = max(hours, default=0.0)
    scale, unit = (3600, "s") if longest < 0.05 else (60, "min") if longest < 2 else (1, "h")
    return [hour * scale for hour in hours], unit
