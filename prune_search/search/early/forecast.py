"""Early stopping that is fair to late pruners: a trial is judged by where trials like it have ended."""

from __future__ import annotations

import moocore
import numpy as np

from prune_search.search.early.standing import Standing

MEMORY = 1000


class Forecast:
    """Stops a trial that, had it gone on as its nearest completed peers did, would hardly have reached the front.

    At each sixteenth of a trial's epochs the completed trials nearest to it at the same share of their epochs are found,
    by all objectives and by the sparsity that their recipes plan, each in units of its spread. What each of them still
    gained and lost from there to its end is added to where the trial stands. If none of these ends would stand on the front
    of the completed trials, the trial stops. So nobody is stopped for having paid early (its
    peers had paid too, and recovered), and nobody kept for not having paid yet (its peers paid later). Our method.

    Where there are constraints, an end that breaks them more than the best completed trial does counts for nothing, and one
    that breaks them less would be the front, whatever its objectives.

    Args:
        neighbours: Completed peers whose ends are looked at.
        chance: The greatest share of them on the front with which a trial stops all the same.
        checks: Stages: at every 1 / ``checks`` of the epochs.
        first: Completed trials before anybody is stopped.

    It remembers the last 1,000 completed trials (our choice) and the front of those before, so that a verdict costs the
    same after ten thousand.
    """

    def __init__(self, neighbours: int = 5, chance: float = 0.0, checks: int = 16, first: int = 10):
        self.neighbours, self.chance, self.first = neighbours, chance, first
        self.shares = tuple(k / checks for k in range(1, checks))
        self._open: dict[int, dict[int, Standing]] = {}
        self._ends: dict[int, Standing] = {}
        self._peers: dict[int, _Peers] = {}
        self._elders: list[Standing] = []
        self._front: list[Standing] = []

    def enter(self, stage: int, at: Standing) -> None:
        if at.finite:
            self._open.setdefault(at.number, {})[stage] = at

    def finish(self, number: int, end: Standing | None) -> None:
        stages = self._open.pop(number, {})
        if end is None or not end.finite:
            return
        self._ends[number] = end
        for stage, at in stages.items():
            then = _features(at)
            peers = self._peers.get(stage) or _Peers.none(len(then))
            self._peers[stage] = peers.joined(number, then, _features(end) - then)
        self._front = _best([*self._front, end])
        if len(self._ends) > 2 * MEMORY:
            oldest = min(self._ends)
            self._elders = _best([*self._elders, self._ends.pop(oldest)])
            self._peers = {stage: peers.without(oldest) for stage, peers in self._peers.items()}

    def verdict(self, stage: int, at: Standing, last: int) -> str | None:
        if not at.finite or stage not in self._peers:
            return None
        peers = self._peers[stage].until(last)
        if len(peers) < self.first:
            return None
        near = peers.distance(at).argsort(kind="stable")[: self.neighbours]
        losses, violation = peers.forecast(at, near)
        rivals = self._rivals(last)
        front, least = np.array([rival.losses for rival in rivals]), rivals[0].violation
        dominated = (front[None] <= losses[:, None]).all(axis=2).any(axis=1)
        beaten = (violation > least) | ((violation == least) & dominated)
        reaching = int(len(near) - beaten.sum())
        if reaching > self.chance * len(near):
            return None
        return f"{reaching} of {len(near)} trials like it at epoch {at.epoch} would reach the front"

    def _rivals(self, last: int) -> list[Standing]:
        """The front of the completed trials up to ``last``."""
        if all(end.number <= last for end in self._front):
            return self._front
        return _best([*self._elders, *(end for end in self._ends.values() if end.number <= last)])


class _Peers:
    """What completed trials were at one stage, and what they became from there.

    Attributes:
        numbers: [peers] the trials, ascending.
        then: [peers, features] at the stage.
        gain: [peers, features] from there to the end.
    """

    def __init__(self, numbers: np.ndarray, then: np.ndarray, gain: np.ndarray):
        self.numbers, self.then, self.gain = numbers, then, gain

    @classmethod
    def none(cls, features: int) -> _Peers:
        return cls(np.empty(0, dtype=int), np.empty((0, features)), np.empty((0, features)))

    def joined(self, number: int, then: np.ndarray, gain: np.ndarray) -> _Peers:
        """With one more, [features] each."""
        place = np.searchsorted(self.numbers, number)
        rows = ((self.numbers, number), (self.then, then), (self.gain, gain))
        return _Peers(*(np.insert(table, place, row, axis=0) for table, row in rows))

    def without(self, number: int) -> _Peers:
        stay = self.numbers != number
        return _Peers(self.numbers[stay], self.then[stay], self.gain[stay])

    def __len__(self) -> int:
        return len(self.numbers)

    def until(self, last: int) -> _Peers:
        """The latest of those that count."""
        stop = int(np.searchsorted(self.numbers, last, side="right"))
        span = slice(max(0, stop - MEMORY), stop)
        return _Peers(self.numbers[span], self.then[span], self.gain[span])

    def distance(self, at: Standing) -> np.ndarray:
        """[peers] squared distances, in units of each feature's spread among the peers; violations do not count."""
        spread = self.then[:, :-1].std(axis=0)
        away = (self.then[:, :-1] - _features(at)[:-1]) / np.where(spread > 1e-9, spread, 1.0)
        return (away**2).sum(axis=1)

    def forecast(self, at: Standing, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Losses [near, objectives] and violations [near] with which ``at`` ends if it goes on as these peers did."""
        ends = _features(at) + self.gain[near]
        return ends[:, :-2], np.maximum(ends[:, -1], 0.0)


def _features(at: Standing) -> np.ndarray:
    return np.array([*at.losses, at.planned, at.violation])


def _best(ends: list[Standing]) -> list[Standing]:
    """The front: of those that break the constraints least, the non-dominated."""
    least = min((end.violation for end in ends), default=0.0)
    sound = [end for end in ends if end.violation <= least]
    if not sound:
        return []
    kept = moocore.is_nondominated(np.array([end.losses for end in sound]))
    return [end for end, keep in zip(sound, kept, strict=True) if keep]
