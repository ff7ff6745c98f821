from __future__ import annotations

from prune_search.pruning.context import Context, Masks
from prune_search.pruning.registry import Part, hyper, part


@part(
    "score",
    "loss-sensitivity",
    source="Tartaglione et al. 2022, LOBSTER, arXiv 2011.09905 (sensitivity, read in the authors' code); ranking by it, on "
    "a fixed probe instead of the last batch, is our choice",
    needs=("gradient",),
)
class LossSensitivity(Part):
    """Sensitivity S(w) = |dL/dw| of the mean loss L on the probe. Of frozen weights, too.

    Attributes:
        images: Images of the probe that the gradient is taken on. Authors: the batch of the step.
    """

    images: int = hyper(256, low=64, high=1024, log=True, at_least=1)

    def score(self, context: Context, state: dict) -> Masks:
        return {
            name: value.abs() for name, value in context.measure("gradient", images=self.images, frozen=True).items()
        }
