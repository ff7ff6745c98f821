"""A table of recorded trials: what was asked, and every report of every epoch."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic

from prune_search.cost.metrics import Report
from prune_search.errors import UserError, nearest
from prune_search.pareto import default_reference
from prune_search.search.layout import Layout
from prune_search.search.results import Found, dense_metrics, tells_dense
from prune_search.spec import Spec, load_spec
from prune_search.tracking import redacted
from prune_search.training.files import read_reports

META = b"prune_search"


@dataclass(frozen=True)
class Entry:
    """A recorded trial.

    Attributes:
        params: What the sampler was asked, by name.
        state, reason: How it ended.
        reports: One for each epoch that it reached.
    """

    params: dict[str, Any]
    state: str
    reason: str
    reports: tuple[Report, ...]

    @property
    def seconds(self) -> tuple[float, ...]:
        """Of each epoch."""
        ends = [0.0, *(report.seconds for report in self.reports)]
        return tuple(max(0.0, end - start) for start, end in zip(ends, ends[1:], strict=False))


@dataclass(frozen=True)
class Table:
    """A search space and trials of it.

    Attributes:
        reference: The fixed point against which hypervolumes of this table are measured.
        origin: Platform and versions.
    """

    spec: Spec
    entries: tuple[Entry, ...]
    reference: dict[str, float]
    origin: dict[str, Any]

    @property
    def full_seconds(self) -> float:
        """Mean device seconds of a recorded trial."""
        return sum(sum(entry.seconds) for entry in self.entries) / len(self.entries)

    def measured_from(self, texts: Sequence[str]) -> Table:
        """The same trials with another reference point.

        Args:
            texts: As ``accuracy=0.9``, for any of the objectives.

        Raises:
            UserError: No such objective, or no number.
        """
        given: dict[str, float] = {}
        for text in texts:
            name, _, value = text.partition("=")
            try:
                given[name] = float(value)
            except ValueError:
                raise UserError(f"got --reference {text!r}. Write a number, as in accuracy=0.9.") from None
            if name not in self.reference:
                raise UserError(
                    f"got --reference {text!r}, but the objectives are {', '.join(self.reference)}."
                    + nearest(name, self.reference)
                )
        return dataclasses.replace(self, reference=self.reference | given)


def record(layout: Layout, spec: Spec, found: Found) -> Path:
    """Write a search's trials as ``table.parquet`` into its folder; its path.

    Trials that were stopped early or have not ended are left out: their curves end too soon.
    """
    records = [record for record in found.records if record.state in ("completed", "infeasible", "failed")]
    curves = {record.number: read_reports(layout.trial(record.number)) for record in records}
    origin = json.loads(layout.origin.read_text())
    dense = next(dense_metrics(report) for reports in curves.values() for report in reports if tells_dense(report))
    meta = {
        "space": redacted(spec.to_yaml()),
        "reference": default_reference(spec.objectives, dense),
        "origin": {"versions": origin["versions"], "platform": origin["platform"]},
        "trials": [
            {"trial": r.number, "params": r.params, "state": r.state, "reason": r.reason.split(":")[0]} for r in records
        ],
    }
    path = layout.folder / "table.parquet"
    write(path, [(number, report) for number, reports in curves.items() for report in reports], meta)
    return path


def write(path: Path, rows: Sequence[tuple[int, Report]], meta: dict[str, Any]) -> None:
    """A parquet file with a row for each report; the rest is in its metadata, as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {"trial": [number for number, _ in rows]}
    for field in dataclasses.fields(Report):
        values = [getattr(report, field.name) for _, report in rows]
        if any(value is not None for value in values):
            columns[field.name] = values
    table = pa.table(columns).replace_schema_metadata({META: json.dumps(meta).encode()})
    pq.write_table(table, path, compression="zstd")


def load(path: Path, overrides: Sequence[str] = ()) -> Table:
    """Read a table.

    Args:
        overrides: ``KEY=VALUE`` as of ``run --set``: constraints, or how is searched.

    Raises:
        UserError: There is no such file, it is no table of ours, or an override changes what was recorded.
    """
    how = "Record one with: prune-search run SPACE.yaml --record"
    if not path.is_file():
        raise UserError(f"there is no table {path}. {how}")
    try:
        meta, curves = _read(path)
    except (
        pydantic.ValidationError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        MemoryError,
        NotImplementedError,
    ) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} is no table of recorded trials ({type(error).__name__}: {reason}). {how}") from None
    entries = tuple(Entry(t.params, t.state, t.reason, tuple(curves.get(t.trial, ()))) for t in meta.trials)
    spec = _spec(meta.space, overrides)
    if meta.reference.keys() != spec.objectives.keys():
        raise UserError(f"{path} is no table of recorded trials (its reference is of other objectives). {how}")
    return Table(spec, entries, meta.reference, meta.origin)


class _Trial(pydantic.BaseModel, strict=True):
    trial: int
    params: dict[str, str | int | float | bool | None]
    state: Literal["completed", "infeasible", "failed"]
    reason: str


class _Meta(pydantic.BaseModel, strict=True):
    """What stands in a table's metadata."""

    space: str
    reference: dict[str, pydantic.FiniteFloat]
    origin: dict[str, Any]
    trials: list[_Trial] = pydantic.Field(min_length=1)


def _read(path: Path) -> tuple[_Meta, dict[int, list[Report]]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    meta = _Meta.model_validate_json((table.schema.metadata or {})[META])
    curves: dict[int, list[Report]] = {}
    for row in table.to_pylist():
        if not all(isinstance(value, (int, float)) or value is None for value in row.values()):
            raise TypeError("a report holds numbers only")
        curves.setdefault(row.pop("trial"), []).append(Report(**row))
    return meta, curves


def _spec(text: str, overrides: Sequence[str]) -> Spec:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "space.yaml"
        path.write_text(text)
        recorded, spec = load_spec(path), load_spec(path, overrides)
    if (spec.tree, spec.objectives) != (recorded.tree, recorded.objectives):
        raise UserError(
            f"got --set {' --set '.join(overrides)}, but the trials of a table are recorded. Set only constraints.* and search.*, "
            "or record another table with: prune-search run SPACE.yaml --record"
        )
    return spec
