"""What scripts and notebooks use: a search that shows how far it is, and what it found as tables, figures and files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_search.search import driver, kept
from prune_search.search.layout import Layout, existing
from prune_search.search.pick import choose
from prune_search.search.results import Found, Record, control_of, read
from prune_search.search.view import View

if TYPE_CHECKING:
    from pandas import DataFrame
    from plotly.graph_objects import Figure

    from prune_search.export.network import Exported


class Search(driver.Search):
    __doc__ = driver.Search.__doc__

    def run(self, view: AbstractContextManager | None = None) -> Result:
        """Search until the trials, the time or the user end it; run again, it goes on.

        Args:
            view: Entered while the search runs. Default: progress, live in a notebook or on a terminal, else a line for each trial.
        """
        from rich.console import Console

        found = super().run(view or View(lambda: self.progress, Console(highlight=False)))
        return Result(self.layout, found)


class Result:
    """What a search has found; in a notebook it shows its front.

    Attributes:
        name: Of the search.
        folder: Where it lies.
    """

    def __init__(self, layout: Layout, found: Found):
        self._layout, self._found = layout, found
        self.name, self.folder = layout.name, layout.folder

    @classmethod
    def load(cls, name: str, *, runs: str | Path = "runs") -> Result:
        """Of a search that exists, running or ended.

        Raises:
            UserError: There is none of this name.
        """
        layout = existing(Path(runs), name)
        return cls(layout, read(layout, layout.spec()))

    @property
    def front(self) -> DataFrame:
        """Non-dominated, feasible, completed trials, the best in the first objective on top; see :attr:`trials`."""
        return _table(self._found.front)

    @property
    def trials(self) -> DataFrame:
        """A row for each trial, by number: state, reason, recipe, sampled values (``param.NAME``), last metrics."""
        return _table(self._found.records)

    def plot(self, x: str | None = None, y: str | None = None) -> Figure:
        """The front in two objectives, a third as colour. Default: accuracy (or the first objective) by the next.

        Raises:
            UserError: The search has no such objectives, or only one.
        """
        from prune_search.errors import UserError
        from prune_search.search.report.figures import fronts

        drawn = fronts(self._found, self._layout.spec())
        wanted = [key for key in drawn if {x, y} - {None} <= set(key.split(" by "))]
        if not wanted:
            raise UserError(
                f"no figure of {x} and {y}. There are: {', '.join(drawn) or 'none, it has one objective or no trials'}."
            )
        return drawn[wanted[0]]

    def report(self) -> Path:
        """Write the report, one page that needs no network; its path."""
        from prune_search.search.confirm import confirmed_of
        from prune_search.search.report.page import write_report

        return write_report(self._layout, self._layout.spec(), confirmed=confirmed_of(self._layout))

    def export(
        self,
        trial: int | None = None,
        *,
        where: str | None = None,
        minimize: str | None = None,
        maximize: str | None = None,
        formats: Sequence[str] | None = None,
        out: str | Path | None = None,
        register: str | None = None,
    ) -> Exported:
        """Write one network as files that run without this package, each verified; the knee of the front unless told otherwise.

        Args:
            trial, where, minimize, maximize: Which, as ``prune-search export`` takes them.
            formats: Any of pt2, onnx, safetensors. Default: all whose packages are installed.
            out: The folder to write. Default: ``export/trial-N`` in the search's folder.
            register: Register as this model in MLflow.
        """
        record = choose(self._found, trial=trial, where=where, minimize=minimize, maximize=maximize)
        out = None if out is None else Path(out)
        return export_record(self._layout, self._found, record, formats=formats, out=out, register=register)[0]

    def _repr_html_(self) -> str:
        shown = self.front.drop(columns=[c for c in self.front.columns if c.startswith("param.")])
        return (
            f"<p><b>{self.name}</b>: {len(self._found.front)} of {len(self._found.records)} trials are on the front.</p>"
            + shown.to_html(max_rows=30)
        )


def export_record(
    layout: Layout,
    found: Found,
    record: Record,
    *,
    formats: Sequence[str] | None = None,
    out: Path | None = None,
    register: str | None = None,
) -> tuple[Exported, int | None]:
    """Export a trial; what was written, and the version it is registered as.

    Raises:
        UserError: Its checkpoint is gone, or a format cannot be written.
        ExportError: What is exported is not what was measured.
    """
    from prune_search.export.formats import FORMATS, missing_packages
    from prune_search.export.trial import export_trial
    from prune_search.search.mlflow import register_trial
    from prune_search.spec.reachable import import_roots

    spec = layout.spec()
    kept.fetch(layout, spec, record.number, patience=0.0)
    with import_roots(spec.roots):
        exported = export_trial(
            record.config,
            layout.trial(record.number),
            out=out or layout.folder / "export" / f"trial-{record.number}",
            formats=[each for each in FORMATS if not missing_packages(each)] if formats is None else formats,
            metrics=record.metrics(),
            dense=control.metrics() if (control := control_of(found)) else found.dense,
            search=layout.name,
            number=record.number,
            trials=len(found.records),
        )
    version = register_trial(layout, spec, register, exported.folder, record.number) if register else None
    return exported, version


def _table(records: Sequence[Record]) -> DataFrame:
    from pandas import DataFrame, Index

    rows: list[dict[str, Any]] = [
        {
            "state": r.state,
            "reason": r.reason,
            "model": r.model,
            "recipe": r.recipe,
            **r.metrics(),
            **{f"param.{k}": v for k, v in r.params.items()},
        }
        for r in records
    ]
    return DataFrame(rows, index=Index([r.number for r in records], name="trial"))
