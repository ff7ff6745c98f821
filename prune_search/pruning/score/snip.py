from __future__ import annotations

from prune_search.pruning.context import Context, Masks
from prune_search.pruning.registry import Part, hyper, part


@part(
    "score",
    "snip",
    source="Lee et al. 2019, SNIP, arXiv 1810.02340 (read in the SynFlow authors' code); eval mode and class-balanced "
    "images are our choice",
    needs=("gradient",),
)
class SNIP(Part):
    """Connection sensitivity |w * dL/dw|: how much the loss L on the probe reacts to the mask of a weight.

    L is the mean over the probe. The authors divide by the sum of all scores, which leaves the ranking as it is and is
    left out. Frozen layers are scored like the others (our choice).

    Attributes:
        images_per_class: Images of the probe for each class. Authors: 10 on average, drawn at random.
    """

    images_per_class: int = hyper(10, low=1, high=50, log=True, at_least=1)

    def score(self, context: Context, state: dict) -> Masks:
        gradient = context.measure("gradient", per_class=self.images_per_class, frozen=True)
        return {name: (weight * gradient[name]).abs() for name, weight in context.weights().items()}
