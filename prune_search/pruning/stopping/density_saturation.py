from __future__ import annotations

from prune_search.pruning.context import Context
from prune_search.pruning.density import densities
from prune_search.pruning.registry import Part, hyper, part


@part(
    "stopping",
    "density-saturation",
    source="after Foldy-Porto et al. 2020, arXiv 2002.02949: abstract only; the criterion is not known, this is our choice",
    needs=("channels", "density"),
)
class DensitySaturation(Part):
    """A round ends when the activation densities of the layers have levelled off.

    A group of coupled layers has settled once its densities after the last ``window`` epochs, measured on the probe, lie
    within ``tolerance`` of each other. An event empties the window; use ``round.max_epochs`` against layers that never settle.
    Example: window 3, tolerance 0.01, densities 0.50 0.46 0.43 0.42 0.415 0.412 end the round after the sixth epoch.

    Attributes:
        tolerance: Largest minus smallest density of the window.
        window: Epochs.
        quorum: Share of the groups that must have settled.
        images: Size of the probe.
    """

    tolerance: float = hyper(0.01, low=0.002, high=0.05, log=True, at_least=0)
    window: int = hyper(3, low=2, high=8, at_least=1)
    quorum: float = hyper(1.0, low=0.5, high=1.0, above=0, at_most=1)
    images: int = hyper(1024, low=256, high=4096, log=True, at_least=1)

    def ended(self, context: Context, state: dict) -> str | None:
        history = context.history
        if history.epoch > history.last:
            return None
        if state.get("round") != len(history.events):
            state.update(round=len(history.events), seen=[])
        seen = state["seen"]
        seen.append(list(densities(context, self.images).values()))
        del seen[: -self.window]
        if len(seen) < self.window or history.epoch < history.first:
            return None
        settled = [max(values) - min(values) <= self.tolerance + 1e-12 for values in zip(*seen, strict=True)]
        return "densities settled" if settled and sum(settled) >= self.quorum * len(settled) else None
