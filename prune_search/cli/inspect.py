"""Commands that look at methods, search spaces and the machine: parts, check, doctor."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from prune_search.cli.console import console, show_json
from prune_search.cli.options import RUNS, Address, Json, Runs

PACKAGES = ("prune-search", "torch", "torchvision", "ray", "optuna", "mlflow")
UNREACHABLE = "no answer from"
WRITABLE = "one can write to"


def parts(json: Json = False) -> None:
    """All methods: parts of each axis with their parameters, and the presets made of them."""
    from prune_search.pruning.presets import PRESETS, SOURCES
    from prune_search.pruning.recipe import part_names
    from prune_search.pruning.registry import AXES
    from prune_search.pruning.registry import parts as parts_of

    if json:
        axes = {axis: [_plain(part) for part in parts_of(axis).values()] for axis in AXES}
        presets = [{"name": name, "parts": part_names(name), "source": SOURCES[name]} for name in PRESETS]
        show_json({"axes": axes, "presets": presets})
        return
    for axis, question in AXES.items():
        console.print(f"[bold]{axis}[/bold]: {question}")
        for part in parts_of(axis).values():
            fields = ", ".join(f"{f.name}={f.default}" for f in dataclasses.fields(part))
            console.print(f"  {part.name}({fields})  {part.source}", markup=False, soft_wrap=True)
    console.print("[bold]presets[/bold]")
    for name in PRESETS:
        console.print(f"  {name}: {SOURCES[name]}", markup=False, soft_wrap=True)


def _plain(part: type) -> dict:
    parameters = {}
    for item in dataclasses.fields(part):
        choices = item.metadata["choices"]
        searched = {"choices": list(choices)} if choices else dict(item.metadata["range"])
        parameters[item.name] = {"default": item.default, "range": searched or None}
    return {"name": part.name, "parameters": parameters, "source": part.source}


def check(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a value: --set training.epochs=5.")] = None,
) -> None:
    """Validate a search space, show its network, sample three configurations, time one training step."""
    from prune_search.cli.samples import draw, show_samples
    from prune_search.spec import load_spec
    from prune_search.spec.reachable import import_roots

    spec = load_spec(space, list(set_ or []))
    show_samples(spec)
    from prune_search.training.probe import probe

    with import_roots(spec.roots):
        probed = probe(draw(spec, 0)[0])
    table = Table(title=f"{probed.model} on {probed.data}", title_justify="left")
    for column in ("layer", "kind", "weight", "parameters", "MACs"):
        table.add_column(column, justify="left" if column in ("layer", "kind") else "right")
    for layer in probed.cost.layers:
        shape = "x".join(map(str, layer.shape))
        table.add_row(layer.name, layer.kind, shape, f"{layer.live:,}", f"{layer.physical_macs:,}")
    console.print(table)
    for layer, reason in probed.whole:
        console.print(f"all channels of {layer} stay: {reason}", soft_wrap=True)
    console.print(
        f"{probed.cost.physical_params:,} parameters, {probed.cost.physical_macs:,} MACs per input; {probed.train} training, "
        f"{probed.validation} validation images",
        soft_wrap=True,
    )
    console.print(
        f"one step: {1000 * probed.step_seconds:.1f} ms (median of {probed.steps}, batch {probed.batch}, {probed.device}, "
        f"{probed.threads} thread); one trial: about {probed.trial_seconds:.0f} s",
        soft_wrap=True,
    )


def doctor(
    runs: Runs = RUNS,
    address: Address = None,
    tracking: Annotated[str | None, typer.Option("--tracking", help="An MLflow store to try: its URI.")] = None,
    storage: Annotated[
        str | None, typer.Option("--storage", help="Where trials shall be kept, a URL for resources.storage, to try.")
    ] = None,
    packing: Annotated[
        Path | None,
        typer.Option("--packing", help="A search space: measure how many of its trials to run at once here."),
    ] = None,
    json: Json = False,
) -> None:
    """What this machine offers: versions, devices, Ray, MLflow, disk; with --address every node of a cluster."""
    if packing is not None:
        from prune_search.cli.packing import show_packing

        show_packing(packing, json)
        return
    import torch

    from prune_search.search.environment import versions

    if address is not None:
        _cluster(address, runs, tracking, storage, json)
        return
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    free = shutil.disk_usage(_existing(runs)).free / 1e9
    facts = {
        "versions": versions(*PACKAGES, "onnxruntime"),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": gpus,
        "free_disk_gb": round(free, 1),
        "runs": {"path": str(runs.resolve()), "writable": os.access(_existing(runs), os.W_OK)},
        "ray": _ray(),
        "mlflow": _mlflow(runs, tracking),
    }
    if storage is not None:
        facts["storage"] = _storage(storage)
    if json:
        show_json(facts)
    else:
        _show_machine(facts)
    if not facts["runs"]["writable"] or _failed(facts):
        raise typer.Exit(1)


def _failed(facts: dict[str, Any]) -> bool:
    """Whether MLflow or the storage that was to be tried refused."""
    return facts["mlflow"].startswith(UNREACHABLE) or not facts.get("storage", WRITABLE).startswith(WRITABLE)


def _show_machine(facts: dict[str, Any]) -> None:
    for name, value in facts["versions"].items():
        console.print(f"{name:14} {value}", markup=False)
    console.print(f"{'cpus':14} {facts['cpus']}")
    console.print(f"{'gpus':14} {', '.join(facts['gpus']) or 'none: trials run on CPUs'}", markup=False)
    free = facts["free_disk_gb"]
    console.print(f"{'free disk':14} {free:.1f} GB" + ("  (little: checkpoints need room)" if free < 2 else ""))
    writable = "writable" if facts["runs"]["writable"] else "NOT writable: name another with --runs"
    console.print(f"{'runs':14} {facts['runs']['path']}, {writable}", markup=False, soft_wrap=True)
    for name in ("ray", "mlflow", "storage"):
        if name in facts:
            console.print(f"{name:14} {facts[name]}", markup=False, soft_wrap=True)


def _existing(path: Path) -> Path:
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return path


def _ray() -> str:
    from prune_search.search.execution import connected

    started = time.perf_counter()
    try:
        with connected(None, 1, []):
            import ray

            have = ray.cluster_resources()
            return f"starts in {time.perf_counter() - started:.1f} s with {have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs"
    except Exception as error:
        return f"does not start: {type(error).__name__}: {error}"


def _cluster(address: str, runs: Path, tracking: str | None, storage: str | None, json: bool) -> None:
    from prune_search.search.environment import versions
    from prune_search.search.execution import connected
    from prune_search.search.nodes import examine

    with connected(address, 1, []):
        nodes = examine(runs, PACKAGES, storage)
    own = versions(*PACKAGES)
    found = [node.problems(own) for node in nodes]
    facts: dict[str, Any] = {
        "versions": own,
        "nodes": [{**node.plain(), "problems": problems} for node, problems in zip(nodes, found)],
        "mlflow": _mlflow(runs, tracking),
    }
    if storage is not None:
        facts["storage"] = _storage(storage)
    if json:
        show_json(facts)
    else:
        console.print("driver: " + ", ".join(f"{name} {version}" for name, version in own.items()), soft_wrap=True)
        for node, problems in zip(nodes, found):
            console.print(
                f"{node.host}: {node.cpus:g} CPUs, {node.gpus:g} GPUs, clock {node.skew:+.3f} s", markup=False
            )
            for problem in problems:
                console.print(f"  {problem}", markup=False, soft_wrap=True)
        for name in ("mlflow", "storage"):
            if name in facts:
                console.print(f"{name}: {facts[name]}", markup=False, soft_wrap=True)
    if any(found) or _failed(facts):
        raise typer.Exit(1)


def _storage(url: str) -> str:
    from prune_search.search.nodes import refusal
    from prune_search.tracking import redacted

    return refusal(url) or f"{WRITABLE} {redacted(url)}"


def _mlflow(runs: Path, tracking: str | None) -> str:
    if tracking is not None:
        from prune_search.tracking import answers, redacted

        return f"{redacted(tracking)} answers" if answers(tracking) else f"{UNREACHABLE} {redacted(tracking)}"
    file = (runs / "mlflow.db").resolve()
    return (
        f"store {file} ({file.stat().st_size / 1e6:.1f} MB)"
        if file.exists()
        else f"no store yet; a search makes {file}"
    )


COMMANDS = (parts, check, doctor)
