from __future__ import annotations

from typing import ClassVar

from prune_search.pruning.context import Masks, Pool, apportion
from prune_search.pruning.registry import Part, part


@part(
    "distribution",
    "erk",
    source="Evci et al. 2020, RigL, arXiv 1911.11134; Mocanu et al. 2018 (from memory of the papers)",
    requires={"granularity": ("weight",)},
)
class ErdosRenyiKernel(Part):
    """Density of a layer proportional to (sum of its dimensions) / (product of its dimensions).

    A layer n_out x n_in keeps e * (n_out + n_in) weights, a convolution e * (n_out + n_in + k_h + k_w); e is the same
    for all layers and gives the wanted total. Layers that would be more than dense stay dense.
    Example: 784-300-100-10 with 26 620 of 266 200 weights keeps [18 714, 6 906, 1 000]; e = 17.264, the last is dense.
    """

    partition: ClassVar[str] = "layer"

    def pools(self, remaining: int, masks: Masks) -> list[Pool]:
        shares = [sum(mask.shape) for mask in masks.values()]
        keep = apportion(shares, [int(mask.sum()) for mask in masks.values()], remaining)
        return [Pool((name,), count) for name, count in zip(masks, keep, strict=True)]
