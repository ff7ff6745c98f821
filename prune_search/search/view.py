"""The live view of a search on a terminal or in a notebook; plain lines elsewhere."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from prune_search.search.progress import Progress

INTERVAL = 0.5


class View:
    """Shows the :class:`Progress` that ``progress()`` returns while it is entered, from a thread of its own."""

    def __init__(self, progress: Callable[[], Progress], console: Console):
        self._progress, self._console = progress, console
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._show, name="view", daemon=True)

    def __enter__(self) -> View:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _show(self) -> None:
        if in_notebook():
            self._display()
        elif self._console.is_terminal:
            with Live(console=self._console, auto_refresh=False, transient=True) as live:
                while not self._end.wait(INTERVAL):
                    live.update(draw(self._progress()), refresh=True)
        else:
            self._lines()

    def _display(self) -> None:
        from IPython.display import HTML, display

        shown = display(HTML(as_html(draw(self._progress()))), display_id=True)
        while not self._end.wait(INTERVAL):
            shown.update(HTML(as_html(draw(self._progress()))))
        shown.update(HTML(as_html(draw(self._progress()))))

    def _lines(self) -> None:
        shown, phase = 0, ""
        while True:
            ended = self._end.wait(INTERVAL)
            progress = self._progress()
            now = clock(time.time() - progress.started)
            for line in progress.events[shown:]:
                shown += 1
                self._console.print(f"[{now}] {line}", markup=False, soft_wrap=True)
            if progress.phase != phase:
                phase = progress.phase
                self._console.print(f"[{now}] {phase}", markup=False)
            if ended:
                return


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this process."""
    module = sys.modules.get("IPython")
    return module is not None and hasattr(module.get_ipython(), "kernel")


def as_html(drawn: RenderableType, width: int = 100) -> str:
    """What a console of ``width`` columns shows, as HTML."""
    console = Console(record=True, file=io.StringIO(), width=width, force_jupyter=False, highlight=False)
    console.print(drawn)
    return console.export_html(inline_styles=True, code_format='<pre style="line-height: 1.3">{code}</pre>')


def draw(progress: Progress) -> Group:
    """The view as it stands now."""
    total = f"/{progress.trials}" if progress.trials else ""
    left = progress.seconds_left()
    head = Text.assemble(
        (progress.name, "bold"), f"  {progress.phase}  {clock(time.time() - progress.started)}",
        f", about {clock(left)} left" if left is not None and progress.phase == "searching" else "",
    )  # fmt: skip
    counts = progress.counts
    states = f"{counts['completed']} done  {len(progress.running)} running  " + "  ".join(
        f"{counts[state]} {state}" for state in ("stopped", "infeasible", "failed")
    )
    lines = [head, Text(f"trials  {progress.ended}{total}: {states}")]
    if progress.trials:
        bar = Table.grid(expand=True)
        bar.add_row(ProgressBar(total=progress.trials, completed=progress.ended))
        lines.append(bar)
    lines.append(Text(f"front   {len(progress.front)} trials, hypervolume {progress.hypervolume:.4f}"))
    if progress.best:
        best = "  ".join(f"{name} {number(value)} (#{trial})" for name, (value, trial) in progress.best.items())
        lines.append(Text(f"best    {best}"))
    if progress.warning:
        lines.append(Text(f"warning {progress.warning}", "yellow"))
    return Group(*lines, _running(progress))


def _running(progress: Progress) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(progress.running))
    for column in ("running", "epoch", "accuracy", "sparsity"):
        table.add_column(column, justify="left" if column == "running" else "right")
    for entry in list(progress.running.values())[:12]:
        accuracy, sparsity = entry.get("accuracy"), entry.get("sparsity")
        cells = ("" if accuracy is None else f"{accuracy:.4f}", "" if sparsity is None else f"{sparsity:.1%}")
        table.add_row(entry["name"], str(entry["epoch"]), *cells)
    return table


def clock(seconds: float) -> str:
    """``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(int(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def number(value: float) -> str:
    """A figure for people: four digits, or a whole number with thousands apart from a thousand to a billion."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
