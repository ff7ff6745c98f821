from __future__ import annotations

from typing import ClassVar

from prune_search.pruning.registry import Part, part


@part("removal", "never", source="our choice; the rules are those of Bragagnolo & Barbano, Simplify, SoftwareX 2022")
class Never(Part):
    """The network shrinks not at all: the exported network keeps its shape."""

    at_events: ClassVar[bool] = False
    at_end: ClassVar[bool] = False
