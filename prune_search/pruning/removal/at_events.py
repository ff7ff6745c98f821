from __future__ import annotations

from typing import ClassVar

from prune_search.pruning.registry import Part, part


@part(
    "removal", "at-events", source="our choice; the rules are those of Bragagnolo & Barbano, Simplify, SoftwareX 2022"
)
class AtEvents(Part):
    """The network shrinks when it is pruned, at the start too, optimizer state carried along, and at the end."""

    at_events: ClassVar[bool] = True
    at_end: ClassVar[bool] = True
