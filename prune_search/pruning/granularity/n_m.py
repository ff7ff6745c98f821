from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from prune_search.pruning.context import Context, Masks
from prune_search.pruning.ranking import Granularity, View
from prune_search.pruning.registry import hyper, part

if TYPE_CHECKING:
    from torch import Tensor


@part(
    "granularity",
    "n-m",
    source="Mishra et al. 2021, arXiv 2104.08378; Zhou et al. 2021, arXiv 2102.04010 (from memory of the papers)",
    requires={"schedule": ("fixed",), "distribution": ("uniform",)},
)
class NM(Granularity):
    """At most ``n`` of ``m`` neighbours along the inputs live, the highest-scored: 2:4 halves every layer.

    Neighbours are inputs i, i + 1, ... of one output, in a convolution at one position of the kernel, as sparse tensor cores
    have it. Where the inputs are no multiple of ``m`` the last group is shorter and keeps up to ``n`` all the same; a layer of
    ``n`` inputs or fewer, as a depthwise convolution, stays dense.

    Attributes:
        n, m: The pattern.
    """

    n: int = hyper(2, low=1, high=4, at_least=1)
    m: int = hyper(4, low=4, high=16, at_least=2)

    def view(self, context: Context, scores: Masks) -> View:
        return _Pattern(context.masks, scores, self)


class _Pattern(View):
    alone: ClassVar[bool] = False

    def __init__(self, masks: Masks, scores: Masks, part: NM) -> None:
        self.layers, self.units, self._scores, self._part = masks, {}, scores, part

    def masks(self, kept: Mapping[str, Tensor]) -> Masks:
        return {name: self._of(self._scores[name], mask) for name, mask in self.layers.items()}

    def live(self, kept: Mapping[str, Tensor]) -> int:
        return sum(int(mask.sum()) for mask in self.masks(kept).values())

    def _of(self, scores: Tensor, mask: Tensor) -> Tensor:
        import torch

        n, m = self._part.n, self._part.m
        rows = scores.where(mask, -torch.inf).movedim(1, -1)
        inputs = rows.shape[-1]
        groups = torch.nn.functional.pad(rows, (0, -inputs % m), value=-torch.inf).unflatten(-1, (-1, m))
        best = torch.zeros_like(groups, dtype=torch.bool)
        best.scatter_(-1, groups.topk(min(n, m), dim=-1).indices, True)
        return best.flatten(-2)[..., :inputs].movedim(-1, 1) & mask
