"""What a trial's pruning has seen so far: one loss and accuracy per epoch, and when events came. Free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class History:
    """The clock of a recipe. Epochs count from 1; an event belongs to the epoch after whose validation it came.

    Attributes:
        epochs: The trial's cap on epochs.
        first: First epoch at whose end an event may come.
        last: Last epoch at whose end an event may come.
        total: Prunable weights of the dense network.
        losses: Validation loss of each epoch so far.
        accuracies: Validation accuracy of each epoch so far.
        events: Epochs that ended in an event that changed the network.
        live_after_masking: Prunable weights left right after each of these events, before removal.
        reasons: Why the round ended, for each event.
    """

    epochs: int
    first: int
    last: int
    total: int
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    live_after_masking: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return len(self.losses)

    @property
    def round_epochs(self) -> int:
        """Epochs finished since the last event (or the start)."""
        return self.epoch - (self.events[-1] if self.events else 0)

    @property
    def window(self) -> tuple[int, int]:
        """Which of the possible event epochs this is, and how many there are: (1, n) at ``first``, (n, n) at ``last``."""
        return self.epoch - self.first + 1, max(1, self.last - self.first + 1)

    def at_start(self, iteration: int, iterations: int) -> History:
        """The history as a schedule sees it at initialisation: the window is the iterations."""
        losses = [math.nan] * iteration
        return History(epochs=self.epochs, first=1, last=iterations, total=self.total, losses=losses)

    @property
    def progress(self) -> float:
        """Share of the window for events that has passed, this epoch included; 1 at the last possible event."""
        passed, every = self.window
        return min(1.0, max(0.0, passed / every))

    @property
    def dense_accuracy(self) -> float:
        """Best validation accuracy before the first event (NaN without any epoch)."""
        before = self.accuracies[: self.events[0]] if self.events else self.accuracies
        return max(before, default=float("nan"))
