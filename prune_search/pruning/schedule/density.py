from __future__ import annotations

from prune_search.pruning.context import Context, Done, Pool
from prune_search.pruning.density import densities, proposed
from prune_search.pruning.registry import Part, hyper, part


@part(
    "schedule",
    "density",
    source="after Foldy-Porto et al. 2020, arXiv 2002.02949: abstract only. That density sizes each layer is theirs; the formula "
    "is our choice",
    requires={"granularity": ("channel",)},
    needs=("channels", "density"),
)
class Density(Part):
    """Every layer keeps floor(C * AD^exponent + 1/2) of its C channels, with AD its activation density on the probe.

    Coupled layers (a residual stream) are one layer with pooled densities. The end is reached once a proposal would remove
    less than ``least_saving`` of the live weights; at AD = 1 everywhere it removes none. Example: 64 channels at 0.42 become
    27, 5 at 0.5 become 3.

    Attributes:
        exponent: On the density.
        least_width: No layer is cut below it.
        least_saving: Share of the live weights that an event must remove.
        images: Size of the probe.
    """

    exponent: float = hyper(1.0, low=0.25, high=1.5, above=0)
    least_width: int = hyper(4, low=1, high=16, log=True, at_least=1)
    least_saving: float = hyper(0.05, low=0.01, high=0.2, log=True, at_least=0, below=1)
    images: int = hyper(1024, low=256, high=4096, log=True, at_least=1)

    def remaining(self, context: Context, state: dict) -> list[Pool] | Done:
        import torch

        channels, density = context.measure("channels"), densities(context, self.images)
        share = torch.ones(channels.count + 1, dtype=torch.float64)
        pools = []
        for name, members in channels.families(context.masks).items():
            each = channels.per_unit(members)
            size = sum(count * context.masks[weight][0].numel() for weight, count in each.items())
            alive = torch.zeros(channels.count, dtype=torch.bool)
            for weight in each:
                rows, mask = channels.rows[weight], context.masks[weight].flatten(1).any(1).cpu()
                alive[rows[mask & (rows >= 0)]] = True
            width = int(alive[members].sum())
            keep = proposed(width, density.get(name, 1.0), self.exponent, self.least_width)
            share[members] = keep / width if width else 1.0
            pools.append(Pool((name,), keep * size))
        before = after = 0.0
        for name, mask in context.masks.items():
            counts = mask.flatten(2).sum(2).double().cpu() if mask.dim() > 2 else mask.double().cpu()
            rows = share[channels.rows[name]] if name in channels.rows else torch.ones_like(counts[:, 0])
            columns = share[channels.columns[name]] if name in channels.columns else torch.ones_like(counts[0])
            before, after = before + float(counts.sum()), after + float(rows @ counts @ columns)
        if 1 - after / before < self.least_saving:
            return Done("the densities leave little to remove")
        return pools
