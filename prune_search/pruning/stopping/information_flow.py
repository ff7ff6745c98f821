from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from prune_search.pruning.context import Context
from prune_search.pruning.flowing import FlowStop
from prune_search.pruning.registry import hyper, part

STATISTICS = {
    "mean": lambda matrix: float(matrix.mean()),
    "abs": lambda matrix: float(matrix.abs().mean()),
    "sq": lambda matrix: float(matrix.square().mean()),
}


@part(
    "stopping",
    "information-flow",
    source="Gharatappeh & Yasaei Sekeh 2025, InfCoP, arXiv 2501.15592, InCoP-IF; read in the authors' code",
    requires={"removal": ("at-end", "never")},
    needs=("correlation",),
)
class InformationFlow(FlowStop):
    """Flow is the Pearson correlation C between the nodes of consecutive layers on the probe.

    For each pair of layers d is the change, against the trained dense network, of one statistic of C [C_l, C_l+1]; see
    the measurement ``correlation``. Nodes that removal at events takes away would change every average, so that is
    excluded.

    Attributes:
        statistic: ``mean`` of C (authors; correlations of either sign cancel, so it is blind on small networks), mean
            ``abs``, mean ``sq``, or ``matrix``: root mean square of C - C_ref, unit by unit, the smoothest (our choice).
            ``faithful`` means ``mean``.
        threshold: Default 0.11 if ``faithful`` (authors' fall-back), else 0.03: that of VGG-16 as root mean square, for
            ``abs`` (our choice; ``matrix`` stays above 0.1 as a rule).
    """

    statistic: str = hyper("matrix", choices=("matrix", "abs", "sq", "mean"))
    threshold: float = hyper(None, low=0.005, high=0.3, log=True, above=0, optional=True)

    limits: ClassVar[Mapping[str, float]] = {"robust": 0.03, "faithful": 0.11}
    most: ClassVar[float] = 1 / 20

    @property
    def _statistic(self) -> str:
        return "mean" if self.mode == "faithful" else self.statistic

    def flow(self, context: Context) -> Sequence[Any]:
        """The statistic of each pair; for ``matrix`` C itself, float64 [C_l, C_l+1]."""
        matrices = context.measure("correlation", images=self.probe_size(context))
        return matrices if self._statistic == "matrix" else [STATISTICS[self._statistic](m) for m in matrices]

    def gaps(self, flow: Sequence[Any], reference: Sequence[Any]) -> list[float]:
        if self._statistic != "matrix":
            return [now - then for now, then in zip(flow, reference, strict=True)]
        return [float((now - then.to(now)).square().mean().sqrt()) for now, then in zip(flow, reference, strict=True)]
