from __future__ import annotations

from typing import TYPE_CHECKING

from prune_search.pruning.context import Context, Masks, Passes
from prune_search.pruning.registry import Part, part

if TYPE_CHECKING:
    from torch import Tensor


@part(
    "score",
    "synflow",
    source="Tanaka et al. 2020, SynFlow, arXiv 2006.05467, and the authors' code; float64, neutral batch norms and zero "
    "biases are our choice",
    needs=("example_input",),
)
class SynFlow(Part):
    """Synaptic flow |w * dR/dw| of the absolute network: no data, no labels.

    R is the sum of all outputs for one all-ones input [1, ...] shaped as an example. In the absolute network, which takes
    the model's place for one call, parameters are absolute values, biases (beta of norms too) are 0, and batch norms have
    mean 0 and variance 1. Other norms stay as they are. Scores are float64, since R grows with depth: where float64
    overflows, the event ends in NonFiniteScore. In a chain of layers the scores of every layer sum to R.
    """

    def score(self, context: Context, state: dict) -> Masks:
        import torch
        from torch.func import functional_call

        from prune_search.pruning.traceless import traceless

        model = context.model
        tensors = {n: _absolute(n, t) for n, t in (*model.named_parameters(), *model.named_buffers())}
        weights = [tensors[name].requires_grad_() for name in context.masks]
        example = torch.ones_like(context.example_input[:1])
        with traceless(model):
            flow = functional_call(
                model, tensors, (example.double() if example.is_floating_point() else example,)
            ).sum()
            gradients = torch.autograd.grad(flow, weights, allow_unused=True, materialize_grads=True)
        context.passes.append(Passes(forward=1, backward=1))
        products = [(weight * gradient).detach().abs() for weight, gradient in zip(weights, gradients, strict=True)]
        return dict(zip(context.masks, products, strict=True))


def _absolute(name: str, value: Tensor) -> Tensor:
    """A copy for the absolute network: float64, but integers stay as they are."""
    if not value.is_floating_point():
        return value.clone()
    last, copy = name.rpartition(".")[2], value.detach().double().abs()
    if last == "running_var":
        return copy.fill_(1)
    return copy.zero_() if last == "running_mean" or "bias" in last else copy
