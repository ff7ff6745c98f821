"""Commands that launch searches on clusters: manifest, submit, logs."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from prune_search.cli.console import console, show_json
from prune_search.cli.options import Json, Name
from prune_search.errors import UserError, nearest

Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a value: --set training.epochs=5.")]
Jobs = Annotated[
    str | None,
    typer.Option("--address", help="The cluster's dashboard, http://HOST:8265. Default: RAY_API_SERVER_ADDRESS."),
]


def manifest(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file.")],
    target: Annotated[str, typer.Option("--target", help="slurm, kuberay or ray-cluster.")],
    name: Annotated[str | None, typer.Option("--name", help="The search's name. Default: the YAML's.")] = None,
    nodes: Annotated[
        int | None, typer.Option("--nodes", min=1, help="Nodes that train. Default: enough for search.concurrency.")
    ] = None,
    trials_per_node: Annotated[int, typer.Option("--trials-per-node", min=1, help="Trials at once on each.")] = 1,
    shared: Annotated[str, typer.Option("--shared", help="A folder that all nodes see.")] = "/shared",
    image: Annotated[
        str, typer.Option("--image", help="Container image (kuberay).")
    ] = "registry.example.org/prune-search",
    set_: Overrides = None,
) -> None:
    """Print a file that starts a cluster and this search on it, complete but for the names of your machines."""
    from prune_search.cluster.manifests import TARGETS, Cluster
    from prune_search.spec import load_spec

    if target not in TARGETS:
        raise UserError(f"--target {target} is unknown.{nearest(target, TARGETS)} Allowed: {', '.join(TARGETS)}.")
    spec = load_spec(space, list(set_ or []))
    if nodes is None:
        wanted = spec.search.concurrency
        nodes = 2 if wanted == "auto" else -(-wanted // trials_per_node)
    cluster = Cluster(spec, str(space), tuple(set_ or []), name or spec.name, nodes, trials_per_node, shared, image)
    sys.stdout.write(TARGETS[target](cluster))


def submit(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file.")],
    runs: Annotated[str, typer.Option("--runs", help="Where the search writes: a folder that all nodes see.")],
    address: Jobs = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The search's name; one that exists is resumed. Default: a new one.")
    ] = None,
    set_: Overrides = None,
    json: Json = False,
) -> None:
    """Start a search as a Ray Job: it goes on when this machine is gone. Modules of yours that the space names travel along."""
    from prune_search.cluster.jobs import Jobs
    from prune_search.spec import load_spec

    if not runs.startswith("/"):
        raise UserError(
            f"--runs {runs}: a job starts in a folder of its own. Give an absolute path, which all nodes see."
        )
    spec = load_spec(space, list(set_ or []))
    name = name or f"{spec.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    job = Jobs(address).submit(spec, name, runs)
    if json:
        show_json({"name": name, "job": job, "runs": runs})
        return
    there = f" --address {address}" if address else ""
    console.print(f"search {name} is job {job}; it writes to {runs}/{name}. next:", soft_wrap=True)
    for command, what in (("logs", "what it prints"), ("status", "where it stands"), ("stop", "end it gracefully")):
        follow = " --follow" if command == "logs" else ""
        console.print(f"  prune-search {command} {name}{there}{follow}   # {what}", soft_wrap=True)


def logs(
    name: Name,
    address: Jobs = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job ends.")] = False,
) -> None:
    """What the job of a submitted search printed."""
    from prune_search.cluster.jobs import Jobs

    for text in Jobs(address).logs(name, follow):
        sys.stdout.write(text)
        sys.stdout.flush()


COMMANDS = (manifest, submit, logs)
