"""Successive halving on several objectives, asynchronous, and its bracketed form."""

from __future__ import annotations

from prune_search.search.early.ranking import order
from prune_search.search.early.standing import Standing

WINDOW = 243


class Halving:
    """At stage k of K, share ``reduction ** (k - K)`` of a trial's epochs, the best 1 / ``reduction`` of the trials seen there go on.

    Asynchronous successive halving (Li et al. 2020, ASHA) with the order of :func:`order` in place of one metric, after
    multi-objective ASHA (Schmucker et al. 2021). The last 243 trials of a stage count (our choice), so that a verdict costs the
    same after a hundred trials and after ten thousand.

    Args:
        reduction: One of how many goes on.
        rungs: Stages before the end.
    """

    def __init__(self, reduction: int = 3, rungs: int = 3):
        self.reduction = reduction
        self.shares = tuple(float(reduction) ** -k for k in range(rungs, 0, -1))
        self._seen: list[dict[int, Standing]] = [{} for _ in self.shares]

    def enter(self, stage: int, at: Standing) -> None:
        seen = self._seen[stage]
        seen[at.number] = at
        if len(seen) > 2 * WINDOW:
            del seen[min(seen)]

    def verdict(self, stage: int, at: Standing, last: int) -> str | None:
        numbers = sorted(number for number in self._seen[stage] if number <= last and number != at.number)
        peers = [at, *(self._seen[stage][number] for number in numbers[-WINDOW:])]
        if len(peers) < self.reduction:
            return None
        place = order(peers).index(0)
        if place < len(peers) // self.reduction:
            return None
        return f"place {place + 1} of {len(peers)} at epoch {at.epoch}"

    def finish(self, number: int, end: Standing | None) -> None:
        """Only stages count."""


class Brackets:
    """Several halvings side by side, trial n in bracket n modulo ``brackets``; bracket b leaves out the first b stages.

    The asynchronous form of Hyperband (Li et al. 2018): a hedge against early reports that say little.
    """

    def __init__(self, reduction: int = 3, brackets: int = 3):
        self.shares = Halving(reduction, brackets).shares
        self._brackets = [Halving(reduction, brackets) for _ in range(brackets)]

    def enter(self, stage: int, at: Standing) -> None:
        if halving := self._at(stage, at):
            halving.enter(stage, at)

    def verdict(self, stage: int, at: Standing, last: int) -> str | None:
        halving = self._at(stage, at)
        return halving.verdict(stage, at, last) if halving else None

    def finish(self, number: int, end: Standing | None) -> None:
        """Only stages count."""

    def _at(self, stage: int, at: Standing) -> Halving | None:
        bracket = at.number % len(self._brackets)
        return self._brackets[bracket] if stage >= bracket else None
