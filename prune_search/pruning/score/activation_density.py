from __future__ import annotations

from prune_search.pruning.context import Context, Masks
from prune_search.pruning.registry import Part, hyper, part


@part(
    "score",
    "activation-density",
    source="after Foldy-Porto et al. 2020, arXiv 2002.02949: abstract only; how channels are chosen is not known, this is our "
    "choice",
    requires={"granularity": ("channel",)},
    needs=("channels", "density"),
)
class ActivationDensity(Part):
    """The rank of a channel among all by the share of its activations that are not zero, then by the norm of its weights,
    then by its place: of equal channels the lower index stays. Channels without an activation rank first.

    Attributes:
        images: Size of the probe.
    """

    images: int = hyper(1024, low=256, high=4096, log=True, at_least=1)

    def score(self, context: Context, state: dict) -> Masks:
        import torch

        channels, density = context.measure("channels"), context.measure("density", images=self.images)
        weights, squares = context.weights(), torch.zeros(channels.count + 1, dtype=torch.float64)
        rows = {n: torch.where(rows < 0, channels.count, rows) for n, rows in channels.rows.items() if n in weights}
        for name, index in rows.items():
            squares.index_add_(0, index, weights[name].detach().double().square().flatten(1).sum(1).cpu())
        density = torch.cat([density.nan_to_num(2.0), torch.tensor([2.0], dtype=torch.float64)])
        order = range(channels.count + 1)
        order = sorted(order, key=lambda i: (density[i].item(), squares[i].item(), -i))
        rank = torch.empty(channels.count + 1, dtype=torch.float64)
        rank[torch.tensor(order)] = torch.arange(channels.count + 1, dtype=torch.float64)
        best = rank.new_full((1,), float(channels.count))
        return {
            name: (rank[rows[name]] if name in rows else best.expand(len(weight)))
            .to(weight.device)
            .view(-1, *[1] * (weight.dim() - 1))
            .expand_as(weight)
            for name, weight in weights.items()
        }
