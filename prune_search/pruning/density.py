"""Activation densities of groups of coupled layers."""

from __future__ import annotations

import math

from prune_search.pruning.context import Context


def densities(context: Context, images: int) -> dict[str, float]:
    """The mean density of the channels of each group that has activations; see :mod:`.measurement.density`."""
    channels, values = context.measure("channels"), context.measure("density", images=images)
    found = {name: float(values[members].mean()) for name, members in channels.families(context.masks).items()}
    return {name: value for name, value in found.items() if not math.isnan(value)}


def proposed(width: int, density: float, exponent: float, least: int) -> int:
    """floor(width * density^exponent + 1/2), at least ``least``, never more than ``width``."""
    return min(width, max(least, math.floor(width * density**exponent + 0.5)))
