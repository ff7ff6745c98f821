"""What a Ray cluster's nodes offer a search, and what would break it: asked of every node itself."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prune_search.errors import UserError
from prune_search.search.environment import versions
from prune_search.tracking import redacted
from prune_search.training import remote

SKEW = 5.0  # seconds; our choice: more would confuse budgets and the order in which people read logs
PINGS = 5


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        host: Its address.
        cpus, gpus: What Ray hands out there.
        cards: GPUs that ``nvidia-smi`` lists.
        versions: Of Python and packages.
        shared: Whether it sees a file that the driver wrote into the runs directory.
        writable: Whether it can write there.
        storage: Why it cannot write where trials shall be kept; empty where it can, None where nobody asked.
        skew: Its clock less the driver's, seconds; to half of ``trip``, the shortest way there and back.
        error: Why this project does not run there; the rest was not asked then.
    """

    host: str
    cpus: float
    gpus: float
    cards: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    shared: bool = False
    writable: bool = False
    storage: str | None = None
    skew: float = 0.0
    trip: float = 0.0
    error: str = ""

    def problems(self, own: dict[str, str]) -> list[str]:
        """What would break a search whose driver has the versions ``own``."""
        if self.error:
            return [f"prune-search does not run there: {self.error}"]
        found = []
        for package, version in own.items():
            if self.versions.get(package) != version:
                found.append(f"{package} is {self.versions.get(package)}, the driver has {version}: install the same")
        if kept := self._runs() if self.storage is None else self.storage:
            found.append(kept)
        if self.cards < self.gpus:
            found.append(
                f"Ray hands out {self.gpus:g} GPUs, nvidia-smi lists {self.cards}: start Ray there with --num-gpus"
            )
        if abs(self.skew) > SKEW + self.trip / 2:
            found.append(f"its clock is {self.skew:+.1f} s off: let both follow NTP")
        return found

    def _runs(self) -> str:
        if not self.shared:
            return "does not see what the driver writes into the runs directory: put --runs on shared storage, or set resources.storage"
        return "" if self.writable else "cannot write into the runs directory: grant its user that"

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def look(runs: str, token: str, packages: Sequence[str], storage: str | None) -> dict[str, Any]:
    """What the process that calls it sees; runs on a node."""
    folder = Path(runs)
    writable, own = True, folder / f"{token}-{uuid.uuid4().hex}"
    try:
        own.write_text("")
        own.unlink()
    except OSError:
        writable = False
    return {
        "versions": versions(*packages),
        "shared": (folder / token).exists(),
        "writable": writable,
        "storage": None if storage is None else refusal(storage),
        "cards": _cards(),
    }


def refusal(storage: str) -> str:
    """Why this process cannot write at a URL, without passwords; empty where it can."""
    try:
        remote.probe(storage)
    except UserError as error:
        return redacted(str(error))
    return ""


def examine(runs: Path, packages: Sequence[str], storage: str | None = None) -> list[Node]:
    """Every node of the connected cluster.

    Args:
        runs: Where searches write, as the driver names it.
        packages: Whose versions are asked for.
        storage: Where trials shall be kept, a URL; None: in the runs directory.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    runs = runs.absolute()
    runs.mkdir(parents=True, exist_ok=True)
    token = runs / f".doctor-{uuid.uuid4().hex}"
    token.write_text("")
    try:
        nodes = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: node["NodeManagerAddress"])
        asked = []
        for node in nodes:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            witness = ray.remote(_Witness).options(num_cpus=0, scheduling_strategy=there).remote()
            asked.append((node, witness, witness.look.remote(str(runs), token.name, list(packages), storage)))
        return [_node(*each) for each in asked]
    finally:
        token.unlink(missing_ok=True)


class _Witness:
    """A process on a node."""

    def look(self, *arguments: Any) -> dict[str, Any]:
        return look(*arguments)

    def now(self) -> float:
        return time.time()


def _clock(witness: Any) -> tuple[float, float]:
    """(skew, trip) from the fastest of a few calls."""
    import ray

    trips = []
    for _ in range(PINGS):
        left = time.time()
        there = ray.get(witness.now.remote())
        back = time.time()
        trips.append((back - left, there - (left + back) / 2))
    trip, skew = min(trips)
    return skew, trip


def _node(node: dict[str, Any], witness: Any, seen: Any) -> Node:
    import ray

    have = node["Resources"]
    host, cpus, gpus = node["NodeManagerAddress"], have.get("CPU", 0.0), have.get("GPU", 0.0)
    try:
        saw = ray.get(seen)
        skew, trip = _clock(witness)
    except ray.exceptions.RayError as error:
        return Node(host, cpus, gpus, error=str(error).strip().split("\n")[-1][:300])
    return Node(host, cpus, gpus, skew=skew, trip=trip, **saw)


def _cards() -> int:
    """GPUs of this machine, without torch."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
