"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="The search's name.")]
Runs = Annotated[Path, typer.Option("--runs", help="Where searches write.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Address = Annotated[
    str | None, typer.Option("--address", help="A Ray cluster: auto or HOST:PORT. Default: this machine.")
]
Dashboard = Annotated[
    str | None,
    typer.Option(
        "--address", help="A cluster that the search was submitted to: http://HOST:8265. Default: this machine."
    ),
]
RUNS = Path("runs")
