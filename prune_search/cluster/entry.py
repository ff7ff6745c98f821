"""The commands that jobs on a cluster run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

SUBMITTED = ".submitted"


def start_or_resume(name: str, runs: str, space: str, overrides: Sequence[str] = ()) -> str:
    """What starts a search on the cluster that it runs in, or takes it up where a job before this one left it."""
    there = ["--runs", runs, "--address", "auto"]
    run = ["prune-search", "run", space, "--name", name, *there]
    run += [word for override in overrides for word in ("--set", override)]
    again = shlex.join(["prune-search", "resume", name, *there])
    return f"if [ -e {shlex.quote(f'{runs}/{name}')} ]; then {again}; else {shlex.join(run)}; fi"


def from_a_copy(name: str, runs: str) -> str:
    """The search in the current folder's ``space.yaml``, from a copy of that folder below ``runs``: its modules are wanted again when
    the search is resumed, and a job's own folder goes with its cluster.
    """
    kept = shlex.quote(f"{runs}/{SUBMITTED}/{name}")
    return f"mkdir -p {kept} && cp -r . {kept} && cd {kept} && {start_or_resume(name, runs, 'space.yaml')}"
