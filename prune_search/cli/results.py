"""Commands that read searches: status, pareto, report, export, clean, ui."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from prune_search.cli.console import console, show_json
from prune_search.cli.options import RUNS, Dashboard, Json, Name, Runs
from prune_search.errors import UserError


def status(
    name: Annotated[str | None, typer.Argument(help="The search's name. Default: all searches.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing until the search ends.")] = False,
    runs: Runs = RUNS,
    address: Dashboard = None,
    json: Json = False,
) -> None:
    """Where searches stand: trials by state, best values, front."""
    if address:
        if watch or not name:
            raise UserError(
                "--address needs the name of a search, and no --watch; see `prune-search logs NAME --follow`."
            )
        _there(address, name, json)
        return
    from prune_search.search.layout import existing, searches

    if watch and not name:
        raise UserError(f"--watch needs the name of a search. Known: {', '.join(searches(runs)[-8:]) or 'none yet'}.")
    names = [name] if name else searches(runs)
    layouts = [existing(runs, each) for each in names]
    rows = [_state(layout) for layout in layouts]
    if json:
        show_json(rows[0] if name else rows)
        return
    if not rows:
        console.print(f"no search in {runs.resolve()} yet. Start one: prune-search run search_spaces/digits.yaml")
    if watch and rows[0]["driven"]:
        _watch(layouts[0])
        rows = [_state(layouts[0])]
    for row in rows:
        console.print(_lines(row), soft_wrap=True)


def _there(address: str, name: str, json: bool) -> None:
    from prune_search.cluster.jobs import Jobs

    printed, succeeded = Jobs(address).ask("status --json" if json else "status", name)
    console.print(printed, end="", markup=False, soft_wrap=True)
    if not succeeded:
        raise typer.Exit(1)


def _watch(layout) -> None:
    from prune_search.search.progress import Progress
    from prune_search.search.view import INTERVAL, View

    with View(lambda: Progress.read(layout), console):
        while layout.driven():
            time.sleep(INTERVAL)


def _state(layout) -> dict:
    from prune_search.search.progress import Progress
    from prune_search.search.results import read
    from prune_search.search.tally import Tally

    progress, told = Progress(layout.name, None, None), Progress.read(layout)
    spec = layout.spec()
    found = read(layout, spec)
    progress.update(Tally.of(found))
    driven = layout.driven()
    left = sum(record.state == "running" for record in found.records)
    return {
        "name": layout.name,
        "driven": driven,
        "trials": spec.search.trials,
        "counts": dict(progress.counts),
        "unfinished": left,
        "running": told.running if driven else {},
        "warning": told.warning,
        "best": {key: {"value": value, "trial": trial} for key, (value, trial) in progress.best.items()},
        "front": progress.front,
        "hypervolume": progress.hypervolume,
    }


def _lines(row: dict) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in row["counts"].items()) or "nothing ended yet"
    how = (
        "running"
        if row["driven"]
        else "not running" + (f", {row['unfinished']} unfinished" if row["unfinished"] else "")
    )
    best = ", ".join(f"{key} {entry['value']:.6g}" for key, entry in row["best"].items())
    total = f" of {row['trials']}" if row["trials"] else ""
    lines = [f"{row['name']}: {how}; {counts}{total}; front {len(row['front'])}; best {best or '-'}"]
    if row["warning"]:
        lines.append(f"  warning: {row['warning']}")
    for now in row["running"].values():
        seen = f", accuracy {now['accuracy']:.4f}, sparsity {now['sparsity']:.4f}" if now["epoch"] else ""
        lines.append(f"  {now['name']}: epoch {now['epoch']}{seen}")
    return "\n".join(lines)


def pareto(
    name: Name,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the front as a page that needs no network.")
    ] = None,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """The front of a search: non-dominated, feasible, completed trials."""
    from prune_search.cli.tables import front_table
    from prune_search.search.layout import existing
    from prune_search.search.results import read

    layout = existing(runs, name)
    found = read(layout, layout.spec())
    if html is not None:
        from prune_search.search.confirm import confirmed_of
        from prune_search.search.report.figures import fronts

        if len(found.objectives) < 2:
            raise UserError("--html draws two objectives, this search has one. See prune-search report.")
        drawn = fronts(found, layout.spec(), confirmed_of(layout))
        next(iter(drawn.values())).write_html(html, include_plotlyjs=True)
    if json:
        members = [
            {"trial": r.number, "recipe": r.recipe, "params": r.params, "metrics": r.metrics(), "config": r.config}
            for r in found.front
        ]
        show_json({"objectives": found.objectives, "hypervolume": found.hypervolume, "front": members})
        return
    console.print(front_table(found))
    console.print(f"hypervolume {found.hypervolume:.4f}" + (f"; page: {html}" if html else ""))


def report(
    name: Name,
    out: Annotated[Path | None, typer.Option("--out", help="The file. Default: runs/NAME/report.html.")] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Also write each figure as PNG and SVG to this folder.")
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Write a page about a search, running or ended: front, history, importance, curves, layers, what to export."""
    from prune_search.search.confirm import confirmed_of
    from prune_search.search.layout import existing
    from prune_search.search.report.page import write_report

    layout = existing(runs, name)
    page = write_report(layout, layout.spec(), confirmed=confirmed_of(layout), path=out, images=images)
    console.print(f"{page}  {page.stat().st_size / 1e6:.1f} MB", soft_wrap=True)


def export(
    name: Name,
    trial: Annotated[int | None, typer.Option("--trial", help="A trial's number.")] = None,
    pick: Annotated[str | None, typer.Option("--pick", help="knee (the default).")] = None,
    where: Annotated[str | None, typer.Option("--where", help='A rule, as "accuracy >= 0.97".')] = None,
    minimize: Annotated[str | None, typer.Option("--minimize", help="The metric to minimize.")] = None,
    maximize: Annotated[str | None, typer.Option("--maximize", help="The metric to maximize.")] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", help="Any of pt2,onnx,safetensors. Default: all whose packages are installed."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write. Default: runs/NAME/export/trial-N.")
    ] = None,
    register: Annotated[str | None, typer.Option("--register", help="Register as this model in MLflow.")] = None,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Write one network as files that run without this package, each verified in a process of its own."""
    from prune_search.api import export_record
    from prune_search.export.formats import FORMATS, missing_packages
    from prune_search.export.verify import ExportError
    from prune_search.search.layout import existing
    from prune_search.search.pick import choose
    from prune_search.search.results import read

    if pick not in (None, "knee"):
        raise UserError(f"got --pick {pick}. Allowed: knee, or --trial N, or --where RULE with --minimize METRIC.")
    if sum((trial is not None, pick is not None, bool(where or minimize or maximize))) > 1:
        raise UserError("give one of --trial, --pick and --where/--minimize/--maximize.")
    layout = existing(runs, name)
    found = read(layout, layout.spec())
    record = choose(found, trial=trial, where=where, minimize=minimize, maximize=maximize)
    left_out = [each for each in FORMATS if missing_packages(each)] if format is None else []
    formats = format and [each.strip() for each in format.split(",") if each.strip()]
    try:
        exported, version = export_record(layout, found, record, formats=formats, out=out, register=register)
    except ExportError as error:
        console.print(f"export failed: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    if json:
        files = {key: str(path) for key, path in exported.files.items()}
        verdicts = {
            key: {"accuracy": v.accuracy, "max_abs_difference": v.max_abs_difference}
            for key, v in exported.verdicts.items()
        }
        show_json(
            {
                "trial": record.number,
                "folder": str(exported.folder),
                "files": files,
                "verified": verdicts,
                "version": version,
            }
        )
        return
    report = record.report
    console.print(f"trial {record.number} ({record.recipe}): accuracy {report.accuracy:.4f}, {report.params:,} parameters, "
                  f"{report.params_reduction:.1f}x fewer than dense", soft_wrap=True)  # fmt: skip
    for key, path in exported.files.items():
        verdict = exported.verdicts[key]
        console.print(f"  {path}  {path.stat().st_size:,} bytes; verified in a new process: accuracy {verdict.accuracy:.4f}, "
                      f"max difference {verdict.max_abs_difference:.1e}", soft_wrap=True)  # fmt: skip
    for each in left_out:
        console.print(f"  no {each}: run pip install 'prune-search[{each}]'", markup=False, soft_wrap=True)
    if version is not None:
        console.print(f"registered as models:/{register}/{version}")


def clean(
    name: Name,
    all_: Annotated[
        bool, typer.Option("--all", help="Delete the whole search: study, checkpoints, its MLflow runs.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    runs: Runs = RUNS,
) -> None:
    """Free space: delete checkpoints of trials that are not on the front (results stay), or with --all everything."""
    from prune_search.search import kept
    from prune_search.search.layout import existing
    from prune_search.search.results import read

    layout = existing(runs, name)
    if layout.driven():
        raise UserError(f"search '{name}' is running. End it first: prune-search stop {name}")
    if all_:
        if not yes:
            typer.confirm(f"Delete search {name} and all its results?", abort=True)
        from prune_search.cluster.entry import SUBMITTED
        from prune_search.search.mlflow import delete

        delete(layout)
        shutil.rmtree(layout.runs / SUBMITTED / name, ignore_errors=True)
        console.print(f"deleted {name}")
        return
    spec = layout.spec()
    found = read(layout, spec)
    keep = {record.number for record in found.front} | {r.number for r in found.records if r.state == "running"}
    freed = 0
    for record in found.records:
        if record.number not in keep:
            freed += kept.drop(layout, spec, record.number)
    for folder in [*layout.folder.glob("ray*"), *layout.folder.glob(layout.stages.name)]:
        freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        shutil.rmtree(folder)
    console.print(f"freed {freed / 1e6:.1f} MB; the front's {len(found.front)} checkpoints stay")


def ui(
    port: Annotated[int | None, typer.Option("--port", help="Default: the first free one from 5000.")] = None,
    runs: Runs = RUNS,
) -> None:
    """Open MLflow's own UI on the searches in the runs directory, at 127.0.0.1."""
    from prune_search.tracking import free_port, ui_command, ui_environment, ui_links

    uri = f"sqlite:///{(runs / 'mlflow.db').resolve()}"
    chosen = free_port(port)
    command = ui_command(uri, chosen)
    links = ui_links(uri, chosen)
    console.print(f"MLflow at http://127.0.0.1:{chosen}  (Ctrl-C ends it)")
    for experiment, views in list(links.items())[:3]:
        for name, address in views.items():
            console.print(f"  {experiment}, {name.lower()}: {address}", soft_wrap=True, highlight=False)
    console.file.flush()
    os.execve(command[0], command, ui_environment(uri))  # a signal to this process is one to the server


COMMANDS = (status, pareto, report, export, clean, ui)
