"""What stopping parts that watch a flow through the network have in common. Free of torch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prune_search.pruning.context import Context
from prune_search.pruning.registry import Part, hyper


def distance(gaps: Sequence[float], norm: str) -> float:
    """Root mean square (``rms``) or Euclidean norm (``sum``) of ``gaps``; NaN if there are none."""
    total = sum(gap * gap for gap in gaps)
    return math.sqrt(total / len(gaps) if norm == "rms" else total) if gaps else math.nan


@dataclass(frozen=True)
class FlowStop(Part, ABC):
    """A round ends when the flow through the network is about that of the trained dense network, or comes no nearer.

    The dense round ends as soon as events may come (reason ``dense``) and leaves its flow as the reference. In later
    rounds every check takes the distance D to it: root mean square over layers, or Euclidean norm if ``faithful``.
    A distance that is not finite ends nothing; ``state["status"]`` is then ``flow_nan``, else ``ok``.

    Attributes:
        mode: ``robust`` (our choice), or ``faithful`` to the authors' code without its defects: the ``threshold`` rule
            whatever ``rule`` says, and D as there.
        rule: ``threshold`` ends a round once D < ``threshold`` (reason ``flow``); ``plateau`` once the smallest D of the
            round fell by no more than ``tau``, relative, over the last ``patience`` checks (``flow plateau``).
        tau: Relative improvement of the plateau rule. Our choice.
        patience: Checks of the plateau rule; with batch norm at least 2. Our choice.
        check_every: Epochs between checks. Authors: 2.
        images: Size of the probe, but where the number of training images is known no more than lets a check cost 1/60
            of an epoch (our choice). Authors: the whole training set.
    """

    mode: str = hyper("robust", choices=("robust", "faithful"))
    rule: str = hyper("plateau", choices=("threshold", "plateau"))
    tau: float = hyper(0.02, low=0.005, high=0.1, log=True, at_least=0, below=1)
    patience: int = hyper(2, low=1, high=3, at_least=1)
    check_every: int = hyper(1, low=1, high=2, at_least=1)
    images: int = hyper(1024, low=256, high=4096, log=True, at_least=2)

    limits: ClassVar[Mapping[str, float]]
    most: ClassVar[float]

    @abstractmethod
    def flow(self, context: Context) -> Sequence[Any]:
        """One number or tensor for each pair of layers or each layer."""

    @abstractmethod
    def gaps(self, flow: Sequence[Any], reference: Sequence[Any]) -> list[float]:
        """How far each entry is from the reference's."""

    @property
    def limit(self) -> float:
        """The part's ``threshold``, or the mode's own where none is given."""
        return self.limits[self.mode] if self.threshold is None else self.threshold

    def probe_size(self, context: Context) -> int:
        """``images``, or the share ``most`` of the training images if that is less (two at least)."""
        known = context.train_images
        return self.images if known is None else max(2, min(self.images, int(known * self.most)))

    def ended(self, context: Context, state: dict) -> str | None:
        history = context.history
        if not history.first <= history.epoch <= history.last:
            return None
        if not history.events:
            state["reference"] = self.flow(context)
            return "dense"
        if state.get("round") != len(history.events):
            state.update(round=len(history.events), best=[])
        if history.round_epochs % self.check_every:
            return None
        gaps = self.gaps(self.flow(context), state["reference"])
        return self._judge(distance(gaps, "rms" if self.mode == "robust" else "sum"), state)

    def _judge(self, value: float, state: dict) -> str | None:
        state["status"] = "ok" if math.isfinite(value) else "flow_nan"
        if not math.isfinite(value):
            return None
        if self.mode == "faithful" or self.rule == "threshold":
            return "flow" if value < self.limit else None
        best = state["best"]
        best.append(min([value, *best[-1:]]))
        del best[: -self.patience - 1]
        settled = len(best) > self.patience and best[0] - best[-1] <= self.tau * best[0]
        return "flow plateau" if settled else None
