from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import ClassVar

from prune_search.pruning.context import Context
from prune_search.pruning.flowing import FlowStop
from prune_search.pruning.registry import hyper, part


@part(
    "stopping",
    "gradient-flow",
    source="Gharatappeh & Yasaei Sekeh 2025, InfCoP, arXiv 2501.15592, InCoP-GF; read in the authors' code, which compares "
    "norms with means: here both sides are the same statistic",
    needs=("gradient",),
)
class GradientFlow(FlowStop):
    """Flow is the size g of the loss gradient on the probe in every prunable tensor, over its surviving weights.

    ``robust``: g = L2 norm / sqrt(survivors), d = ln(g / g_ref). ``faithful``: g = L2 norm, d = g - g_ref.
    An untrained network has small gradients too: use ``round.accuracy_gate``.

    Attributes:
        rule: As for all flows; here ``threshold`` by default, since D does not fall steadily either (our choice).
        threshold: Default 0.5 if ``faithful`` (authors' fall-back), else 0.3, that is gradients within about a third
            (our choice).
    """

    rule: str = hyper("threshold", choices=("threshold", "plateau"))
    threshold: float = hyper(None, low=0.05, high=1.0, log=True, above=0, optional=True)

    limits: ClassVar[Mapping[str, float]] = {"robust": 0.3, "faithful": 0.5}
    most: ClassVar[float] = 1 / 60

    def flow(self, context: Context) -> list[float]:
        """g of each prunable tensor."""
        gradients = context.measure("gradient", images=self.probe_size(context))
        norms = {name: float(gradients[name][mask].double().norm()) for name, mask in context.masks.items()}
        if self.mode == "faithful":
            return list(norms.values())
        return [norm / math.sqrt(int(context.masks[name].sum())) for name, norm in norms.items()]

    def gaps(self, flow: Sequence[float], reference: Sequence[float]) -> list[float]:
        gap = _log_ratio if self.mode == "robust" else operator.sub
        return [gap(now, then) for now, then in zip(flow, reference, strict=True)]


def _log_ratio(now: float, then: float) -> float:
    """ln(now / then); 0 where both are 0 (a frozen tensor), NaN where only one is or either is not finite."""
    if now == then == 0:
        return 0.0
    return math.log(now / then) if 0 < now < math.inf and 0 < then < math.inf else math.nan
