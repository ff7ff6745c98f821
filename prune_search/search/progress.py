"""Where a running search stands: kept by the driver, drawn by a view, written to ``status.json`` for other processes."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from prune_search.cost.metrics import Report
from prune_search.search.layout import Layout, write_json
from prune_search.search.tally import Tally
from prune_search.training.files import read_reports

PHASES = ("starting", "searching", "testing the front", "done", "interrupted")

LINES = 100
log = logging.getLogger("prune_search")


@dataclass
class Progress:
    """A snapshot that the driver keeps up to date.

    Attributes:
        name: The search.
        trials: Trials wanted in all; None if only time ends the search.
        deadline: When the time budget ends (``time.time()``); None without one.
        phase: One of :data:`PHASES`.
        counts: Trials by state.
        running: For each running trial: its name, epoch, accuracy and sparsity.
        best: Best value of each objective among completed trials, and the trial that has it.
        front: Trials on the front.
        hypervolume: Of the front.
        events: Lines about what happened last, newest last.
        warning: What went wrong last without ending the search; empty if nothing did.
    """

    name: str
    trials: int | None
    deadline: float | None
    started: float = field(default_factory=time.time)
    phase: str = "starting"
    counts: Counter[str] = field(default_factory=Counter)
    running: dict[int, dict[str, Any]] = field(default_factory=dict)
    best: dict[str, tuple[float, int]] = field(default_factory=dict)
    front: list[int] = field(default_factory=list)
    hypervolume: float = 0.0
    events: list[str] = field(default_factory=list)
    warning: str = ""

    def warn(self, message: str) -> None:
        """Show the first line of a message."""
        self.warning = message.split("\n")[0]
        self.events.append(f"warning: {self.warning}")

    def update(self, tally: Tally) -> None:
        """Take over counts, best values and front."""
        self.counts, self.best = tally.counts.copy(), dict(tally.best)
        self.front, self.hypervolume = tally.front, tally.hypervolume

    def write(self, layout: Layout) -> None:
        """For :meth:`read`; where the storage is full, people see the last one that fitted."""
        plain = vars(self) | {"events": self.events[-LINES:], "pid": os.getpid(), "at": time.time()}
        try:
            write_json(layout.status, plain)
        except OSError as error:
            log.warning("status.json was not written: %s", error)

    @classmethod
    def read(cls, layout: Layout) -> Progress:
        """What the driver wrote when a trial last began or ended; running trials as far as their own reports go."""
        if not layout.status.exists():
            return cls(layout.name, None, None)
        plain = json.loads(layout.status.read_text())
        progress = cls(**{each.name: plain[each.name] for each in fields(cls) if each.name in plain})
        progress.counts = Counter(progress.counts)
        progress.running = {int(number): entry for number, entry in progress.running.items()}
        for number, entry in progress.running.items():
            if reports := read_reports(layout.trial(number)):
                entry.update(shown(reports[-1]))
        return progress

    @property
    def ended(self) -> int:
        return sum(self.counts.values())

    def seconds_left(self) -> float | None:
        """An estimate from the pace so far and the time budget; None before anything ended."""
        limits = [self.deadline - time.time()] if self.deadline else []
        if self.trials and self.ended:
            limits.append((time.time() - self.started) / self.ended * (self.trials - self.ended))
        return max(0.0, min(limits)) if limits else None


def shown(report: Report) -> dict[str, Any]:
    """What is shown of a running trial."""
    return {"epoch": report.epoch, "accuracy": report.accuracy, "sparsity": report.sparsity}
