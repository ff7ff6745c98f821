from __future__ import annotations

from typing import TYPE_CHECKING

from prune_search.pruning.context import Context
from prune_search.pruning.registry import hyper, part
from prune_search.pruning.regularizing import Regularizer

if TYPE_CHECKING:
    from torch import nn


@part(
    "regularizer",
    "lobster",
    source="Tartaglione et al. 2022, LOBSTER, arXiv 2011.09905, authors' code; only weights of Conv and Linear by default "
    "is our choice",
)
class Lobster(Regularizer):
    """After every step each weight shrinks by the factor 1 - strength * max(0, 1 - |dL/dw|): less if the loss needs it.

    ``strength`` is not multiplied by the learning rate, and the gradient is the one the step used, without weight decay (and
    after clipping, where there is any). Under a mean-reduced loss nearly all |dL/dw| are far below 1. Half-life of a weight
    without gradient: ln 2 / strength, 6 931 steps at 1e-4. Keep the optimizer's weight decay at 0 beside it.

    Attributes:
        strength: lambda. Authors: 1e-4.
        shrink_on: ``post_step``, the value after the optimizer's step (authors' code), or ``pre_step``, the value before it
            (the paper's single equation); they differ by strength * lr * gradient.
        rescale: Divide |dL/dw| by its largest in the tensor first. Authors: off in LOBSTER, an option in SeReNe's code.
        include_bias: Biases of Conv and Linear shrink too. Authors: on.
        include_norm: Batch norm's weights (and biases, with ``include_bias``) shrink too. Authors: on.
    """

    strength: float = hyper(1e-4, low=1e-6, high=1e-2, log=True, at_least=0, at_most=1)
    shrink_on: str = hyper("post_step", choices=("post_step", "pre_step"))
    rescale: bool = hyper(False, choices=(False, True))
    include_bias: bool = hyper(False, choices=(False, True))
    include_norm: bool = hyper(False, choices=(False, True))

    def before_step(self, context: Context, state: dict) -> None:
        if self.shrink_on == "pre_step":
            self._shrink(context)

    def after_step(self, context: Context, state: dict) -> None:
        if self.shrink_on == "post_step":
            self._shrink(context)

    def _shrink(self, context: Context) -> None:
        import torch

        if "lobster" not in context.memo:
            context.memo["lobster"] = self._parameters(context)
        parameters = [p for p in context.memo["lobster"] if p.grad is not None]
        if not parameters:
            return
        with torch.no_grad():
            factors = torch._foreach_abs([p.grad for p in parameters])
            if self.rescale:
                torch._foreach_div_(
                    factors, [largest.clamp(min=1e-30) for largest in torch._foreach_norm(factors, float("inf"))]
                )
            torch._foreach_mul_(factors, -1.0)
            torch._foreach_add_(factors, 1.0)
            torch._foreach_clamp_min_(factors, 0.0)
            torch._foreach_mul_(factors, -self.strength)
            torch._foreach_add_(factors, 1.0)
            torch._foreach_mul_(parameters, factors)

    def _parameters(self, context: Context) -> list[nn.Parameter]:
        from torch import nn

        from prune_search.cost import prunable_layers

        chosen = list(context.parameters.values())
        layers = list(prunable_layers(context.model).values()) if self.include_bias else []
        if self.include_norm:
            norms = [m for m in context.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.affine]
            chosen += [norm.weight for norm in norms]
            layers += norms if self.include_bias else []
        return chosen + [layer.bias for layer in layers if layer.bias is not None]
