from __future__ import annotations

from prune_search.pruning.context import Context, Masks, Passes
from prune_search.pruning.registry import Part, hyper, part


@part(
    "score",
    "grasp",
    source="Wang et al. 2020, GraSP, arXiv 2002.07376 (read in the SynFlow authors' code, which scores in eval mode and "
    "re-draws no layer); class-balanced images are our choice",
    needs=("gradient", "probe", "loss"),
)
class GraSP(Part):
    """Gradient flow w * (H g): where it is lowest, removing the weight raises |g|^2 most (to first order).

    g = dL/dw and the Hessian H are those of the mean loss L on the probe, outputs divided by ``temperature``, over the
    live weights that train; H g is the gradient of g . dL/dw with g constant. The sign is kept. The authors divide by
    the absolute sum of all scores, which leaves the ranking as it is and is left out. Frozen layers score 0: exclude
    them.

    Attributes:
        temperature: Divides the outputs. Authors: 200.
        images_per_class: Images of the probe for each class. Authors: 10 to 25.
    """

    temperature: float = hyper(200.0, low=1, high=500, log=True, above=0)
    images_per_class: int = hyper(10, low=1, high=50, log=True, at_least=1)

    def score(self, context: Context, state: dict) -> Masks:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        from prune_search.pruning.measurement.gradient import losses
        from prune_search.pruning.traceless import traceless

        gradient = context.measure("gradient", per_class=self.images_per_class, temperature=self.temperature)
        inputs, labels = context.probe(None, per_class=self.images_per_class)
        weights = {name: p for name, p in context.parameters.items() if p.requires_grad}
        product = {name: torch.zeros_like(p) for name, p in context.parameters.items()}
        with traceless(context.model), sdpa_kernel(SDPBackend.MATH):  # fused attention cannot be differentiated twice
            for loss in losses(context, inputs, labels, temperature=self.temperature):
                slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True, allow_unused=True)
                flow = sum(
                    (gradient[name] * context.masks[name] * slope).sum()
                    for name, slope in zip(weights, slopes, strict=True)
                    if slope is not None
                )
                products = torch.autograd.grad(flow, list(weights.values()), allow_unused=True)
                for name, value in zip(weights, products, strict=True):
                    if value is not None:
                        product[name] += value
        # One backward for dL/dw, and three to differentiate it: each product of matrices in a forward (one) and a
        # backward pass (two) needs two more, six in all, where a backward pass has two.
        context.passes.append(Passes(forward=len(labels), backward=4 * len(labels)))
        return {name: weight * product[name] for name, weight in context.weights().items()}
