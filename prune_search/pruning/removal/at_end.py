from __future__ import annotations

from typing import ClassVar

from prune_search.pruning.registry import Part, part


@part("removal", "at-end", source="our choice; the rules are those of Bragagnolo & Barbano, Simplify, SoftwareX 2022")
class AtEnd(Part):
    """The network shrinks only when training is over: masks until then."""

    at_events: ClassVar[bool] = False
    at_end: ClassVar[bool] = True
