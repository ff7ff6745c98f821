from __future__ import annotations

from typing import TYPE_CHECKING

from prune_search.pruning.context import Context, Masks, Pool
from prune_search.pruning.registry import Part, hyper, part

if TYPE_CHECKING:
    from torch import Tensor


def bound(magnitudes: Tensor, p: float, q: float, eta: float = 0.0) -> Tensor:
    """Least number of weights that must stay, float64 [...]: the PQ bound over the last axis, zeros standing for no weight.

    r = (1 + eta)^(-q / (q - p)) * (sum |w|^p)^(q / (q - p)) / (sum |w|^q)^(p / (q - p)): the closed form of
    d * (1 + eta)^(-q / (q - p)) * (1 - I)^(p q / (q - p)), with I the PQ index. 0 where all weights are zero.

    Args:
        magnitudes: Float [..., N], not negative.
        p, q: 0 < p < q.
        eta: Share of the p-th power mass that may be lost.
    """
    import torch

    values = magnitudes.double()
    largest = values.amax(-1, keepdim=True)
    values = torch.where(largest > 0, values / largest, 0.0)
    ratio = values.pow(p).sum(-1).pow(q / (q - p)) / values.pow(q).sum(-1).pow(p / (q - p))
    return torch.where(largest.squeeze(-1) > 0, ratio * (1 + eta) ** (-q / (q - p)), 0.0)


def index(magnitudes: Tensor, p: float, q: float) -> Tensor:
    """The PQ index I = 1 - d^(1/q - 1/p) * ||w||_p / ||w||_q over the last axis, float64 [...]; 0 for all zeros.

    0 if all magnitudes are equal, 1 - d^(1/q - 1/p) if one alone is not zero.
    """
    import torch

    d = magnitudes.shape[-1]
    return torch.where(magnitudes.amax(-1) > 0, 1 - (bound(magnitudes, p, q) / d) ** ((q - p) / (p * q)), 0.0)


def removed(live: Tensor, least: Tensor, gamma: float, beta: float) -> Tensor:
    """How many of ``live`` weights go, int64 [...]: floor(min(gamma * (d - ceil(r)), beta * d)), not below 0.

    1e-9 of d is taken off r before it is rounded up, so that rounding errors do not keep a weight more.
    """
    spare = live - (least - 1e-9 * live).ceil()
    return ((gamma * spare).minimum(beta * live.double()) + 1e-9).floor().clamp(min=0).long()


@part(
    "schedule",
    "pq-index",
    source="Diao et al. 2023, SAP, arXiv 2302.05601: definition and algorithm on the authors' poster and in their code",
    requires={"distribution": ("global", "uniform", "per-neuron"), "granularity": ("weight",)},
)
class PQIndex(Part):
    """Removes what lies below the bound that the PQ index of the live weights gives: little of flat distributions.

    The distribution says over what the index is taken: ``global`` the network, ``uniform`` each layer, ``per-neuron`` each
    output unit; layers and units then lose what their own index says. First removal for Gaussian weights: 36.3 % at
    (p, q) = (1, 2), 15.3 % at (0.5, 1).

    Attributes:
        p: Smaller norm, > 0. Authors: 0.5 (with q = 1), also 1 (with q = 2).
        gap: q - p. Authors: 0.5, also 1.
        eta: Share of the p-th power mass that may be lost. Authors: 0.
        gamma: Factor on what is removed. Authors: 1.
        beta: Largest share removed at an event. Authors: 0.9.
    """

    p: float = hyper(0.5, low=0.2, high=1.0, above=0)
    gap: float = hyper(0.5, low=0.2, high=1.0, above=0)
    eta: float = hyper(0.0, low=0.001, high=1.0, log=True, at_least=0)
    gamma: float = hyper(1.0, low=0.5, high=3.0, above=0)
    beta: float = hyper(0.9, low=0.5, high=0.95, above=0, below=1)

    def remaining(self, context: Context, state: dict) -> list[Pool]:
        """What stays in each pool."""
        weights = {name: w.abs() * context.masks[name] for name, w in context.weights().items()}
        spread = {"net": self._net, "layer": self._layers, "neuron": self._neurons}[context.partition]
        return spread(weights, context.masks)

    def _keep(self, magnitudes: Tensor, live: Tensor) -> Tensor:
        least = bound(magnitudes, self.p, self.p + self.gap, self.eta)
        empty = magnitudes.amax(-1) == 0
        return live - removed(live, least, self.gamma, self.beta).masked_fill(empty, 0)

    def _net(self, weights: Masks, masks: Masks) -> list[Pool]:
        import torch

        live = sum(mask.sum() for mask in masks.values())
        magnitudes = torch.cat([weight.flatten() for weight in weights.values()])
        return [Pool(tuple(masks), int(self._keep(magnitudes, live)))]

    def _layers(self, weights: Masks, masks: Masks) -> list[Pool]:
        return [Pool((name,), int(self._keep(w.flatten(), masks[name].sum()))) for name, w in weights.items()]

    def _neurons(self, weights: Masks, masks: Masks) -> list[Pool]:
        return [Pool((name,), self._keep(w.flatten(1), masks[name].flatten(1).sum(1))) for name, w in weights.items()]
