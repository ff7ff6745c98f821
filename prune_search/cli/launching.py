"""Commands that launch searches on clusters: manifest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from prune_search.errors import UserError, nearest


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
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a value: --set training.epochs=5.")] = None,
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


COMMANDS = (manifest,)
