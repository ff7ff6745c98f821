"""Commands that run searches: run, resume, stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prune_search.cli.console import chatter_to, console, show_json
from prune_search.cli.options import RUNS, Address, Dashboard, Json, Name, Runs

Trials = Annotated[int | None, typer.Option("--trials", min=1, help="Trials in all.")]
Time = Annotated[str | None, typer.Option("--time", help="Time budget: 90s, 30m, 2h.")]


def run(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The search's name. Default: the YAML's and a time stamp.")
    ] = None,
    trials: Trials = None,
    time: Time = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a value: --set training.epochs=5.")] = None,
    runs: Runs = RUNS,
    address: Address = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Validate and sample three configurations, start nothing.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Stop nobody early, and keep all curves in a table for `simulate`.")
    ] = False,
    json: Json = False,
) -> None:
    """Search a space; every trial, the front and what to do next are shown and logged to MLflow."""
    from prune_search.spec import load_spec

    overrides = list(set_ or [])
    if trials is not None:
        overrides.append(f"search.trials={trials}")
    if time is not None:
        overrides.append(f"search.time={time}")
    if record:
        overrides += ["search.early_stopping=none", "search.reuse=false"]  # the table keeps every epoch's seconds
    spec = load_spec(space, overrides)
    if dry_run:
        from prune_search.cli.samples import show_samples

        show_samples(spec)
        return
    from prune_search.search.driver import Search

    _run(Search(spec, runs=runs, name=name, address=address), json, record)


def resume(
    name: Name,
    trials: Trials = None,
    time: Time = None,
    runs: Runs = RUNS,
    address: Address = None,
    record: Annotated[bool, typer.Option("--record", help="Keep all curves in a table, as `run --record`.")] = False,
    json: Json = False,
) -> None:
    """Go on with a search that was stopped or killed, or add trials to one that has ended."""
    from prune_search.search.driver import Search

    _run(Search.resume(name, runs=runs, address=address, trials=trials, time=time), json, record)


def _run(search, json: bool, record: bool) -> None:
    from prune_search.search.view import View

    layout = search.layout
    if not json:
        console.print(f"search {layout.name}: files in {layout.folder}, messages in {layout.log}", soft_wrap=True)
    with chatter_to(layout.log) as terminal:
        found = search.run(None if json else View(lambda: search.progress, terminal))
    table = None
    if record and any(trial.report for trial in found.records):
        from prune_search.search.simulation.table import record as record_table

        table = record_table(layout, search.spec, found)
    counts = search.progress.counts
    failed = bool(counts["failed"]) and counts["failed"] == counts.total() and search.progress.phase == "done"
    if json:
        front = [_plain(trial) for trial in found.front]
        show_json({"name": layout.name, "phase": search.progress.phase, "counts": dict(counts), "front": front})
    else:
        _show(search, found, failed, table)
    if failed or search.interrupted:
        raise typer.Exit(1 if failed else 130)


def _show(search, found, failed: bool, table: Path | None) -> None:
    from prune_search.cli.tables import front_table

    layout, progress = search.layout, search.progress
    if found.front:
        console.print(front_table(found))
    console.print(
        f"{progress.phase}: {progress.ended} trials ended, {progress.counts['failed']} failed, "
        f"hypervolume {found.hypervolume:.4f}"
    )
    place = "" if layout.runs == RUNS.resolve() else f" --runs {layout.runs}"
    if search.untracked:
        console.print(
            f"MLflow lacks {search.untracked} entries of this search ({layout.log} says why). Once it answers, this writes them: "
            f"prune-search resume {layout.name}{place}",
            soft_wrap=True,
        )
    if failed:
        last = [record.reason for record in found.records if record.state == "failed"][-1]
        console.print(f"Every trial failed, the last with: {last}", markup=False, soft_wrap=True)
        console.print(f"Mend that and start a new search, or go on with: prune-search resume {layout.name}{place}")
        return
    console.print("next:")
    if progress.phase == "interrupted":
        console.print(f"  prune-search resume {layout.name}{place}", soft_wrap=True)
    of_front = (
        (f"export {layout.name}", "the knee of the front, as verified files"),
        (f"confirm {layout.name} --seeds 3", "the front on new seeds"),
    )
    for command, what in (
        (f"report {layout.name}", f"a page about it all, written to {layout.folder / 'report.html'}"),
        *(of_front if found.front else ()),
        ("ui", "everything in MLflow"),
    ):
        console.print(f"  prune-search {command}{place}   # {what}", soft_wrap=True)
    if table is not None:
        path = table if place else RUNS / layout.name / table.name
        console.print(f"  prune-search simulate {path}   # strategies replayed on these trials", soft_wrap=True)


def _plain(record) -> dict:
    return {"trial": record.number, "recipe": record.recipe, "params": record.params, "metrics": record.metrics()}


def stop(name: Name, runs: Runs = RUNS, address: Dashboard = None) -> None:
    """End a running search gracefully: trials in flight keep their last checkpoint, `resume` goes on."""
    if address:
        from prune_search.cluster.jobs import Jobs

        console.print(Jobs(address).stop(name), end="", markup=False, soft_wrap=True)
        return
    from prune_search.search.layout import existing

    layout = existing(runs, name)
    if not layout.driven():
        console.print(f"search {name} is not running. Continue it with: prune-search resume {name}")
        return
    layout.stop.touch()
    console.print(f"search {name} is asked to stop; it ends within a few seconds.")


COMMANDS = (run, resume, stop)
