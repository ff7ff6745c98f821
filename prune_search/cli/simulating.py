"""The command that replays strategies on recorded trials."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from prune_search.cli.console import console, show_json
from prune_search.cli.options import Json


def simulate(
    table: Annotated[Path, typer.Argument(help="Recorded trials: table.parquet of `run --record`.")],
    strategy: Annotated[
        str, typer.Option("--strategy", help="SAMPLER[+STOPPING],... The first is compared with the others.")
    ] = "tpe+moasha-schedule-aware,tpe,random",
    workers: Annotated[int, typer.Option("--workers", min=1, help="Trials at once.")] = 16,
    seeds: Annotated[int, typer.Option("--seeds", min=1)] = 20,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Device time, in whole trials.")] = 200,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Simulations at once. Default: one for each core.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option("--reference", help="Measure from here: accuracy=0.9. What is worse does not count."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override constraints or search: --set \"constraints={accuracy: '>= 0.9'}\"."),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write the curves as a page.")] = None,
    json: Json = False,
) -> None:
    """What a search would have found, and when: strategies replayed on recorded trials, with a simulated clock."""
    from prune_search.search.simulation.compare import Strategy, compare, figure
    from prune_search.search.simulation.table import load

    strategies = [Strategy.parse(text) for text in strategy.split(",")]
    recorded = load(table, set_ or ()).measured_from(reference or ())
    at_once = min(processes or (os.cpu_count() or 1), len(strategies) * seeds)
    comparison = compare(recorded, strategies, workers=workers, trials=trials, seeds=seeds, processes=at_once)
    if html is not None:
        figure(comparison).write_html(html, include_plotlyjs=True)
    if json:
        show_json(comparison.plain())
        return
    from prune_search.cli.tables import simulation_table

    console.print(simulation_table(comparison))


COMMANDS = (simulate,)
