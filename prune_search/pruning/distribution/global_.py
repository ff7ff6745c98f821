from __future__ import annotations

from typing import ClassVar

from prune_search.pruning.context import Masks, Pool
from prune_search.pruning.registry import Part, part


@part("distribution", "global", source="one ranking over all layers (Frankle & Carbin, open_lth; Renda et al. 2020)")
class Global(Part):
    """All layers are ranked together."""

    partition: ClassVar[str] = "net"

    def pools(self, remaining: int, masks: Masks) -> list[Pool]:
        return [Pool(tuple(masks), remaining)]
