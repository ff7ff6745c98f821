"""Choosing which units stay: exact counts, whatever the ties, with a floor under every layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from prune_search.pruning.context import Pool, Units


def smallest(scores: Tensor, count: int) -> Tensor:
    """Bool mask of the ``count`` smallest scores; of equal ones the higher index counts as smaller.

    Args:
        scores: Float, [N], no NaN.
        count: In [0, N].
    """
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if count >= scores.numel():
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = scores.kthvalue(count).values
    chosen = scores < threshold
    ties = (scores == threshold).nonzero().flatten()
    missing = count - int(chosen.sum())
    chosen[ties[len(ties) - missing :]] = True
    return chosen


def select(units: Mapping[str, Units], pools: Sequence[Pool], floor: float) -> dict[str, Tensor]:
    """Which units stay (bool [U] for each layer).

    In each pool the live units with the smallest scores go until at most ``keep`` weights are left, except that the best
    ``ceil(floor * U)`` units of each layer always stay. Units that are dead stay dead.
    """
    kept: dict[str, Tensor] = {}
    for pool in pools:
        layers = {name: units[name] for name in pool.layers}
        kept |= _together(layers, pool.keep, floor) if isinstance(pool.keep, int) else _by_row(layers, pool.keep, floor)
    return kept


def _together(layers: Mapping[str, Units], keep: int, floor: float) -> dict[str, Tensor]:
    counts = [int(layer.live.sum()) for layer in layers.values()]
    scores = torch.cat([layer.scores[layer.live] for layer in layers.values()])
    removable = torch.cat([~_best(layer, floor) for layer in layers.values()]).nonzero().flatten()
    gone = torch.zeros_like(scores, dtype=torch.bool)
    gone[removable] = _lowest(scores[removable], [layer.size for layer in layers.values()], counts, removable, keep)
    kept = {}
    for (name, layer), going in zip(layers.items(), gone.split(counts), strict=True):
        kept[name] = layer.live.clone()
        kept[name][layer.live] = ~going
    return kept


def _lowest(scores: Tensor, sizes: Sequence[int], counts: Sequence[int], removable: Tensor, keep: int) -> Tensor:
    """Bool mask of the smallest scores that must go so that at most ``keep`` weights of all stay."""
    if len(set(sizes)) == 1:
        return smallest(scores, min(sum(counts) - keep // sizes[0], len(scores)))
    each = torch.tensor(sizes, device=scores.device).repeat_interleave(torch.tensor(counts, device=scores.device))
    order = scores.flip(0).argsort(stable=True).sub(len(scores) - 1).neg()  # of equal scores the higher index first
    weights = each[removable][order]
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    chosen[order[weights.cumsum(0) - weights < int(each.sum()) - keep]] = True
    return chosen


def _by_row(layers: Mapping[str, Units], keep: Tensor, floor: float) -> dict[str, Tensor]:
    ((name, layer),) = layers.items()
    live = layer.live.view(len(keep), -1)
    scores = layer.scores.view_as(live).masked_fill(~live, -math.inf)
    rank = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    stays = (live & (rank < keep.to(rank.device)[:, None])).flatten()
    stays[layer.live] |= _best(layer, floor)
    return {name: stays}


def _best(layer: Units, floor: float) -> Tensor:
    """Among the live units, those that the floor protects."""
    scores = layer.scores[layer.live]
    protect = min(math.ceil(floor * layer.live.numel()), len(scores))
    return ~smallest(scores, len(scores) - protect)
