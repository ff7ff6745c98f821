from __future__ import annotations

from typing import ClassVar

from prune_search.pruning.context import Masks, Pool, apportion, uniform_shares
from prune_search.pruning.registry import Part, part


@part(
    "distribution",
    "per-neuron",
    source="the neuron scope of Diao et al. 2023, SAP, arXiv 2302.05601; the same sparsity for all is our choice",
    requires={"granularity": ("weight",)},
)
class PerNeuron(Part):
    """Every layer keeps the same share of its weights, and so does every output unit of it (up to one weight)."""

    partition: ClassVar[str] = "neuron"

    def pools(self, remaining: int, masks: Masks) -> list[Pool]:
        import torch

        live = {name: mask.flatten(1).sum(1) for name, mask in masks.items()}
        keep = apportion(uniform_shares(masks), [int(counts.sum()) for counts in live.values()], remaining)
        pools = []
        for (name, counts), total in zip(live.items(), keep, strict=True):
            rows = apportion([1] * len(counts), counts.tolist(), total)
            pools.append(Pool((name,), torch.tensor(rows)))
        return pools
