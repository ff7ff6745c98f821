"""The front as a plot."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from prune_search.errors import UserError
from prune_search.pareto.front import front
from prune_search.pareto.scale import LOGARITHMIC, Objectives, Point

if TYPE_CHECKING:
    from plotly.graph_objects import Figure, Scatter

_QUIET, _LOUD, _DENSE, _AGAIN, _RING = "#c3c9d1", "#1f5fbf", "#b0413e", "#1d7a46", "#3b3f45"
_SYMBOLS = {
    "stopped": "triangle-down-open",
    "infeasible": "square-open",
    "failed": "x-thin-open",
    "running": "star-open",
}


def pairs(objectives: Objectives) -> list[tuple[str, str]]:
    """All pairs of objectives as (x, y), the one that people look at first in front: accuracy on y, else the first objective."""
    y = "accuracy" if "accuracy" in objectives else next(iter(objectives))
    others = [name for name in objectives if name != y]
    return [(x, y) for x in others] + list(combinations(others, 2))


def figure(
    points: Sequence[Point],
    objectives: Objectives,
    front_indices: Collection[int],
    dense: Mapping[str, float] | None = None,
    *,
    names: Sequence[str] | None = None,
    confirmed: Sequence[tuple[str, Point, Point]] = (),
    axes: tuple[str, str] | None = None,
    presets: Collection[int] = (),
    unfinished: Mapping[str, Sequence[tuple[str, Point]]] | None = None,
) -> Figure:
    """A plotly figure of two objectives, a third as colour; ``fig.write_html(file, include_plotlyjs=True)``
    is self-contained.

    Accuracy goes on y (else the first objective), the first other objective on x, in decades where it is a
    count. The front's marks are loud, the best of it in these two objectives joined by a line; the other
    trials are quiet.

    Args:
        points: Metrics of one trial each; those that lack a value on x or y are left out.
        objectives: Metric -> direction; two or more.
        front_indices: Which points are on the front.
        dense: Metrics of the dense network, drawn as a mark of its own.
        names: What a trial is called when one points at it. Default: ``trial 0``, ``trial 1``, ...
        confirmed: Name, means and standard errors of configurations trained again; drawn with bars of one error.
        axes: The objectives on x and y, where these are others.
        presets: Which points are published recipes as they are; they get a ring.
        unfinished: State -> name and last metrics of trials that did not complete; quieter still.
    """
    import plotly.graph_objects as go

    if len(objectives) < 2:
        raise UserError(f"A plot needs two objectives, there is {len(objectives)}: {', '.join(objectives)}.")
    x, y = axes or pairs(objectives)[0]
    others = [name for name in objectives if name not in (x, y)]
    names = names or [f"trial {i}" for i in range(len(points))]
    chosen = set(front_indices)
    drawn = [i for i, p in enumerate(points) if np.isfinite([_value(p, x), _value(p, y)]).all()]
    best = [i for i in drawn if i in chosen]
    colour = others[0] if others else None

    def marks(indices: list[int], label: str, **style: object) -> Scatter:
        return go.Scatter(
            x=[points[i][x] for i in indices],
            y=[points[i][y] for i in indices],
            text=[_hover(names[i], points[i], objectives) for i in indices],
            hoverinfo="text",
            name=label,
            **style,
        )

    edge = [best[i] for i in front([points[i] for i in best], {name: objectives[name] for name in (x, y)})]
    edge.sort(key=lambda i: (points[i][x], points[i][y]))
    shades = {"color": _LOUD}
    if colour:
        bar = {"title": {"text": colour, "side": "right"}}
        shades = {
            "color": [_value(points[i], colour) for i in best], "colorscale": "Viridis", "colorbar": bar
        }  # fmt: skip
    fig = go.Figure([
        marks([i for i in drawn if i not in chosen], "other trials", mode="markers",
              marker={"color": _QUIET, "size": 6}),
        marks(edge, "front line", mode="lines", line={"color": _LOUD, "width": 1.5}, showlegend=False),
        marks(best, "front", mode="markers", marker={"size": 10, **shades}),
    ])  # fmt: skip
    rings = [i for i in drawn if i in set(presets)]
    if rings:
        fig.add_trace(marks(rings, "published presets", mode="markers", marker={
            "color": _RING, "size": 13, "symbol": "circle-open", "line": {"width": 1.5}}))  # fmt: skip
    for state, trials in (unfinished or {}).items():
        shown = [(name, point) for name, point in trials if np.isfinite([_value(point, x), _value(point, y)]).all()]
        fig.add_scatter(x=[point[x] for _, point in shown], y=[point[y] for _, point in shown], name=state, mode="markers",
                        text=[_hover(f"{name}, {state}", point, objectives) for name, point in shown], hoverinfo="text",
                        marker={"color": _QUIET, "size": 5, "symbol": _SYMBOLS.get(state, "x-thin-open")})  # fmt: skip
    if dense and np.isfinite([_value(dense, x), _value(dense, y)]).all():
        mark = {"color": _DENSE, "size": 12, "symbol": "x"}
        fig.add_scatter(x=[dense[x]], y=[dense[y]], mode="markers", marker=mark, name="dense",
                        text=[_hover("dense", dense, objectives)], hoverinfo="text")  # fmt: skip
    if confirmed:
        bars = [
            {"type": "data", "array": [_value(error, axis) for _, _, error in confirmed], "thickness": 1, "width": 3}
            for axis in (x, y)
        ]
        fig.add_scatter(x=[_value(mean, x) for _, mean, _ in confirmed], y=[_value(mean, y) for _, mean, _ in confirmed],
                        error_x=bars[0], error_y=bars[1], mode="markers", name="confirmed: means over new seeds",
                        marker={"color": _AGAIN, "size": 9, "symbol": "diamond-open"}, hoverinfo="text",
                        text=[_hover(f"{name}, new seeds", mean, objectives) for name, mean, _ in confirmed])  # fmt: skip
    fig.update_layout(
        template="simple_white", legend={"orientation": "h", "y": 1.15}, height=480, hoverlabel={"align": "left"}
    )
    fig.update_xaxes(title=f"{x} ({objectives[x]})", type="log" if x in LOGARITHMIC else "linear")
    fig.update_yaxes(title=f"{y} ({objectives[y]})", type="log" if y in LOGARITHMIC else "linear")
    if best and y not in LOGARITHMIC:
        fig.update_yaxes(range=_view([points[i][y] for i in best], objectives[y]))
    return fig


def _view(values: Sequence[float], direction: str) -> tuple[float, float]:
    """An axis range around the front's values, with room on their worse side; zooming out shows the rest."""
    low, high = min(values), max(values)
    room = max(0.5 * (high - low), 0.02)
    return (low - room, high + 0.2 * room) if direction == "maximize" else (low - 0.2 * room, high + room)


def _value(point: Point, name: str) -> float:
    value = point.get(name)
    return np.nan if value is None else float(value)


def _hover(name: str, point: Point, objectives: Objectives) -> str:
    return "<br>".join([f"<b>{name}</b>", *(f"{metric} {_value(point, metric):.6g}" for metric in objectives)])
