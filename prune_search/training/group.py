"""Several ranks of one trial as Ray actors in the trial's placement group, driven from its first bundle."""

from __future__ import annotations

import socket
from typing import Any

import ray
from ray.util import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from prune_search.training.worker import Rank

PATIENCE = 10.0  # seconds that the ranks beside one that failed may take to come back from it


class Member(Rank):
    """A rank in an actor of its own."""

    def address(self) -> str:
        """Where this rank can serve a rendezvous now."""
        with socket.socket() as free:
            free.bind(("", 0))
            return f"tcp://{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"


class Group:
    """What :class:`Rank` is for one process, for ``size`` of them: each on a bundle of the current placement group.

    A configuration that fails at one rank fails as a trial. A rank that dies is the cluster's fault: :meth:`step` raises, so that
    Tune tries again from the last checkpoint. In both cases ranks that still wait for the lost one are ended and replaced.

    Args:
        size: Ranks.
        cpus, gpus: What each holds.
    """

    def __init__(self, size: int, cpus: float, gpus: float):
        self._size, self._options = size, {"num_cpus": cpus, "num_gpus": gpus}
        self._members: list[Any] = []
        self._device = "cuda" if gpus else "cpu"
        self._finished = False

    def begin(self, config: dict[str, Any]) -> bool:
        """As :meth:`Rank.begin`, at all ranks."""
        if not self._members:
            self._start()
        self._finished = ray.get([member.begin.remote(config) for member in self._members])[0]
        return self._finished

    def step(self) -> dict[str, Any]:
        """As :meth:`Rank.step`; the result of the first rank, or of the one that failed.

        Raises:
            Exception: A rank died, or they lost each other.
        """
        steps = [member.step.remote() for member in self._members[: 1 if self._finished else None]]
        try:
            failed = self._first_failure(steps)
            if failed is None:
                return ray.get(steps[0])
            returned, late = ray.wait(steps, num_returns=len(steps), timeout=PATIENCE)
            ray.get(returned)  # raises if one died: that is why this one failed
        except Exception:
            self.end()
            raise
        if late:
            self.end()
        return failed

    def end(self) -> None:
        """End all ranks; those that do not wait for a lost one let their trial go first."""
        if self._members:
            ray.wait([member.end.remote() for member in self._members], num_returns=len(self._members), timeout=1.0)
        for member in self._members:
            ray.kill(member)
        self._members = []

    def _first_failure(self, steps: list[Any]) -> dict[str, Any] | None:
        waiting = steps
        while waiting:
            done, waiting = ray.wait(waiting)
            result = ray.get(done[0])
            if result["state"] == "failed":
                return result
        return None

    def _start(self) -> None:
        group, member = get_current_placement_group(), ray.remote(Member)
        bundles = [i for i, bundle in enumerate(group.bundle_specs) if bundle][-self._size :]
        self._members = [
            member.options(
                **self._options,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle),
            ).remote()
            for bundle in bundles
        ]
        address = ray.get(self._members[0].address.remote())
        meetings = [m.meet.remote(i, self._size, address, self._device) for i, m in enumerate(self._members)]
        ray.get(meetings)
