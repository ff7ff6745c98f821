from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from prune_search.errors import UserError
from prune_search.pruning.context import Context, Masks, Units
from prune_search.pruning.ranking import Granularity, View
from prune_search.pruning.registry import hyper, part

if TYPE_CHECKING:
    from torch import Tensor

    from prune_search.removal.channels import Channels


@part(
    "granularity",
    "channel",
    source="filters: Li et al. 2017, arXiv 1608.08710; coupled layers as one: Fang et al. 2023, DepGraph, arXiv 2301.12900 "
    "(from memory of the papers); exact amounts by bisection are our choice",
    needs=("channels",),
)
class Channel(Granularity):
    """Output channels of convolutions and units of Linear layers, with all that goes with them.

    Layers whose outputs meet (residual sums, products, depthwise convolutions) lose the same channels together. A channel
    takes along its rows in all these layers, the columns that read it, its biases, and its norms' gamma and beta; what is
    asked of a schedule counts all weights that go this way. Channels of inputs, of outputs and of what torch.fx cannot
    follow stay.

    Attributes:
        reduce: How the scores of a channel's own weights become one: their mean, sum or largest.
        multiple: Widths are rounded up to it, by keeping the best of what would go.
    """

    reduce: str = hyper("mean", choices=("mean", "sum", "max"))
    multiple: int = hyper(1, choices=(1, 4, 8, 16, 32))

    def check(self, context: Context) -> None:
        from prune_search.removal.network import Untraceable

        try:
            found = context.measure("channels").families(context.masks)
        except Untraceable as error:
            raise UserError(f"recipe: granularity 'channel': {error}. Use granularity: weight.") from None
        if not found:
            raise UserError("recipe: granularity 'channel': the network has no channel that could go.")

    def view(self, context: Context, scores: Masks) -> View:
        return _ChannelView(context.measure("channels"), context.masks, scores, self)

    def companions(self, context: Context, masks: Masks) -> Masks:
        import torch

        channels = context.measure("channels")
        alive = torch.zeros(channels.count + 1, dtype=torch.bool)
        alive[-1] = True
        for name, rows in channels.rows.items():
            mask = masks.get(name)
            alive[rows if mask is None else rows[mask.flatten(1).any(1).cpu()]] = True
        parameters = dict(context.model.named_parameters())
        return {
            name: alive[rows].view(parameters[name].shape).to(parameters[name].device)
            for name, rows in channels.beside.items()
        }


class _ChannelView(View):
    """Channels by family; ``alive`` vectors have an entry for each channel and a last one, True, for all other rows."""

    alone: ClassVar[bool] = False

    def __init__(self, channels: Channels, masks: Masks, scores: Masks, part: Channel) -> None:
        import torch

        self._multiple = part.multiple
        self._masks, self._families = masks, channels.families(masks)
        device = next(iter(masks.values())).device
        self._rows, self._columns = (
            {name: torch.where(i < 0, channels.count, i).to(device) for name, i in indices.items() if name in masks}
            for indices in (channels.rows, channels.columns)
        )
        self._alive = torch.ones(channels.count + 1, dtype=torch.bool, device=device)
        size, live, total = (torch.zeros(channels.count + 1, dtype=torch.float64, device=device) for _ in range(3))
        for name, rows in self._rows.items():
            mask = masks[name].flatten(1)
            score = scores[name].double().flatten(1).where(mask, 0)
            size.index_add_(0, rows, torch.full_like(rows, mask.shape[1], dtype=torch.float64))
            live.index_add_(0, rows, mask.sum(1).double())
            if part.reduce == "max":
                total.scatter_reduce_(0, rows, score.amax(1), "amax")
            else:
                total.index_add_(0, rows, score.sum(1))
        if part.reduce == "mean":
            total = total / size.clamp(min=1)
        self._families = {name: members.to(device) for name, members in self._families.items()}
        self.units = {
            name: Units(total[members], live[members] > 0, int(size[members[0]]))
            for name, members in self._families.items()
        }
        self.layers = {name: units.live[:, None].expand(-1, units.size) for name, units in self.units.items()}

    def rounded(self, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        for name, stays in kept.items():
            spare = self.units[name].live & ~stays
            missing = min(-int(stays.sum()) % self._multiple, int(spare.sum()))
            if missing:
                best = self.units[name].scores.where(spare, -math.inf).topk(missing).indices
                stays[best] = True
        return kept

    def masks(self, kept: Mapping[str, Tensor]) -> Masks:
        alive, result = self._after(kept), {}
        for name, mask in self._masks.items():
            beyond = [1] * (mask.dim() - 2)
            if name in self._rows:
                mask = mask & alive[self._rows[name]].view(-1, 1, *beyond)
            if name in self._columns:
                mask = mask & alive[self._columns[name]].view(1, -1, *beyond)
            result[name] = mask
        return result

    def live(self, kept: Mapping[str, Tensor]) -> int:
        import torch

        alive, total = self._after(kept).double(), 0.0
        for name, counts in self._counts.items():
            rows = alive[self._rows[name]] if name in self._rows else torch.ones_like(counts[:, 0])
            columns = alive[self._columns[name]] if name in self._columns else torch.ones_like(counts[0])
            total += rows @ counts @ columns
        return int(total)

    @functools.cached_property
    def _counts(self) -> Masks:
        """Live weights by row and column, float64 [O, I]."""
        return {
            name: mask.flatten(2).sum(2).double() if mask.dim() > 2 else mask.double()
            for name, mask in self._masks.items()
        }

    def _after(self, kept: Mapping[str, Tensor]) -> Tensor:
        alive = self._alive.clone()
        for name, stays in kept.items():
            alive[self._families[name]] = stays
        return alive
