"""What was held over time, drawn and in figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

FIGURES = ("memory_mb", "uncollected_mb", "handles", "threads", "processes", "shared_mb")


def draw_curves(rounds: list[dict[str, Any]], path: Path) -> None:
    """Every figure over the rounds, one below the other."""
    figure = make_subplots(len(FIGURES), 1, shared_xaxes=True, subplot_titles=FIGURES)
    for row, name in enumerate(FIGURES, 1):
        x, y = [noted["round"] for noted in rounds], [noted[name] for noted in rounds]
        figure.add_trace(go.Scatter(x=x, y=y, name=name, mode="lines+markers"), row, 1)
    figure.update_layout(height=900, showlegend=False)
    figure.write_html(path, include_plotlyjs=True)


def slopes(rounds: list[dict[str, Any]]) -> dict[str, tuple[float, float, float]]:
    """Of each figure: its median in the first and in the last quarter of the rounds, and its rise an hour (least squares over the
    second half, when all that is loaded once is loaded)."""
    found = {}
    half = rounds[len(rounds) // 2 :]
    hours = np.array([noted["time"] / 3600 for noted in half])
    quarter = max(1, len(rounds) // 4)
    for name in FIGURES if len(half) > 1 else ():
        values = np.array([noted[name] for noted in half])
        first, last = (float(np.median([n[name] for n in part])) for part in (rounds[:quarter], rounds[-quarter:]))
        found[name] = first, last, float(np.polyfit(hours - hours[0], values, 1)[0])
    return found
