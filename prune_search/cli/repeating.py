"""Commands that train what a search has found once more: confirm on new seeds, rerun on the same."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from prune_search.cli.console import chatter_to, console, show_json
from prune_search.cli.options import RUNS, Address, Json, Name, Runs


def confirm(
    name: Name,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="New training seeds for each configuration.")] = 3,
    trial: Annotated[list[int] | None, typer.Option("--trial", help="Trials to confirm. Default: the front.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every completed trial: a comparison of recipes.")] = False,
    where: Annotated[
        str | None, typer.Option("--where", help='Only one: the best by a rule, as "sparsity >= 0.98".')
    ] = None,
    minimize: Annotated[str | None, typer.Option("--minimize", help="With --where: the metric to minimize.")] = None,
    maximize: Annotated[str | None, typer.Option("--maximize", help="With --where: the metric to maximize.")] = None,
    runs: Runs = RUNS,
    address: Address = None,
    json: Json = False,
) -> None:
    """Train the front again with new seeds: means, standard errors, and differences to the dense control."""
    from prune_search.cli.tables import confirm_table
    from prune_search.errors import UserError
    from prune_search.search.confirm import confirm as confirm_search
    from prune_search.search.confirm import plain_of
    from prune_search.search.layout import existing
    from prune_search.search.pick import choose
    from prune_search.search.results import control_of, read

    layout = existing(runs, name)
    spec = layout.spec()
    found = read(layout, spec)
    if where or minimize or maximize:
        records = [choose(found, where=where, minimize=minimize, maximize=maximize)]
    elif all_:
        records = found.completed
    else:
        records = [choose(found, trial=number) for number in trial] if trial else found.front
    if not records:
        raise UserError(f"search '{name}' has no completed trial to confirm yet. See `prune-search status {name}`.")
    if sum((bool(trial), all_, bool(where or minimize or maximize))) > 1:
        raise UserError("give one of --trial, --all and --where with --minimize or --maximize.")
    controls = {record.number: control for record in records if (control := control_of(found, record))}
    known = {record.number for record in records}
    records = [*records, *{c.number: c for c in controls.values() if c.number not in known}.values()]
    lock = threading.Lock()
    with layout.driver(), chatter_to(layout.log) as terminal:

        def done(line: str) -> None:
            if not json:
                with lock:
                    terminal.print(line, soft_wrap=True)

        confirmed = confirm_search(spec, layout, records, seeds, address=address, done=done)
    if json:
        show_json(plain_of(confirmed, spec.objectives))
        return
    numbers = {trial: control.number for trial, control in controls.items()}
    console.print(confirm_table(confirmed, numbers, console.width, spec.objectives))
    if not controls:
        console.print("no dense control in this search: add `dense: {}` to recipe.choices to have one.")


def rerun(
    name: Name,
    trial: Annotated[int, typer.Option("--trial", min=0, help="The trial to train again.")],
    runs: Runs = RUNS,
    address: Address = None,
    json: Json = False,
) -> None:
    """Train a trial again as it was; says whether every number came out the same, and exits with 1 if not."""
    from prune_search.errors import UserError
    from prune_search.search import again as once_more
    from prune_search.search.layout import existing
    from prune_search.search.results import read

    layout = existing(runs, name)
    spec = layout.spec()
    record = read(layout, spec).record(trial)
    if record is None or record.state == "running" or not record.config:
        state = "does not exist" if record is None else "has not ended"
        raise UserError(f"trial {trial} {state}. See `prune-search status {name}`.")
    with layout.driver(), chatter_to(layout.log) as terminal:

        def reported(report) -> None:
            if not json:
                terminal.print(f"epoch {report.epoch}: accuracy {report.accuracy:.4f}, {report.params:,} params")

        again = once_more.rerun(spec, layout, record, address=address, reported=reported)
    if json:
        show_json(_plain(again))
    else:
        _show(again, layout.again(trial))
    if not again.matched:
        raise typer.Exit(1)


def _plain(again) -> dict:
    differences = [vars(each) for each in again.differences]
    plain = {"trial": again.trial, "matched": again.matched, "epochs": again.epochs, "state": again.ended.state}
    return {**plain, "reason": again.ended.reason, "differences": differences, "versions": dict(again.versions)}


def _show(again, folder: Path) -> None:
    if again.matched:
        console.print(f"trial {again.trial} matched: {again.epochs} epochs, every number the same but times")
        return
    console.print(f"trial {again.trial} did not match; the second run is in {folder}", soft_wrap=True)
    if again.reason:
        console.print(
            f"then: {again.reason}; now: {again.ended.state}, {again.ended.reason}", markup=False, soft_wrap=True
        )
    for index in dict.fromkeys(each.epoch for each in (again.differences[:1] + again.differences[-1:])):
        of_epoch = [each for each in again.differences if each.epoch == index]
        shown = ", ".join(f"{each.name} {each.then} then, {each.now} now" for each in of_epoch)
        console.print(f"  epoch {index}: {shown}", soft_wrap=True)
    changed = ", ".join(f"{name} {then} then, {now} now" for name, (then, now) in again.versions.items())
    console.print(f"  versions: {changed or 'as they were'}", soft_wrap=True)


COMMANDS = (confirm, rerun)
