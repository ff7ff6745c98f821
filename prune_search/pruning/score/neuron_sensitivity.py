from __future__ import annotations

from prune_search.pruning.context import Context, Masks
from prune_search.pruning.registry import Part, hyper, part


@part(
    "score",
    "neuron-sensitivity",
    source="the sensitivity of Tartaglione et al. 2022, SeReNe, arXiv 2102.03773, as a score: our choice",
    requires={"granularity": ("channel",)},
    needs=("sensitivity",),
)
class NeuronSensitivity(Part):
    """How much the network's answer reacts to the neuron that a weight belongs to; alike for all weights of a neuron.

    Attributes:
        variant: ``full``, ``lower-bound`` or ``local``: see :mod:`prune_search.pruning.measurement.sensitivity`.
        images: Size of the probe.
    """

    variant: str = hyper("lower-bound", choices=("full", "lower-bound", "local"))
    images: int = hyper(256, low=64, high=1024, log=True, at_least=1)

    def score(self, context: Context, state: dict) -> Masks:
        values = context.measure("sensitivity", variant=self.variant, images=self.images)
        weights = context.weights()
        return {
            name: values[name].view(-1, *[1] * (weight.dim() - 1)).expand_as(weight)
            if name in values
            else weight.abs() * 0
            for name, weight in weights.items()
        }
