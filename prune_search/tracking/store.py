"""What is written to MLflow about one search. Blocking calls; only the tracker's thread comes here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from prune_search.tracking import runs as names
from prune_search.tracking.connection import Connection
from prune_search.tracking.inputs import log_data
from prune_search.tracking.models import log_model
from prune_search.tracking.runs import Row, Run, RunInfo, Wanted, as_run, by_number, last_epoch

PAIRS_PER_BATCH, METRICS_PER_BATCH = 100, 1000  # MLflow's limits


class Store:
    """One search in one experiment. Run ``None`` is the parent, run ``n`` the child of trial ``n``."""

    def __init__(self, connection: Connection, search: str) -> None:
        self._connection, self._search = connection, search
        self._runs: dict[int | None, Run] | None = None
        self._wanted: dict[int | None, Wanted] = {}

    def start(self, number: int | None, wanted: Wanted) -> None:
        """Create the run, or set the existing one back to RUNNING; parameters that it has stay."""
        self._wanted[number] = wanted
        run = self._loaded().get(number)
        if run is None:
            self._run(number)
            return
        client = self._connection.client()
        client.update_run(run.run_id, status="RUNNING")
        for key in {names.STATE, names.REASON, names.FRONT} & set(client.get_run(run.run_id).data.tags):
            client.delete_tag(run.run_id, key)
        run.state = run.front = None
        self.tag(number, self._tags(number))
        self._add_params(run, wanted.params)

    def log(self, number: int | None, rows: Sequence[Row]) -> None:
        """Write metrics; the report of an epoch that the run already has is skipped."""
        from mlflow.entities import Metric

        run = self._run(number)
        new, last = [], run.last_epoch
        for row in rows:
            if not row.report or last is None or row.step > last:
                new.append(row)
                last = row.step if row.report else last
        widest = max((len(row.metrics) for row in new), default=1)
        for part in _chunks(new, max(1, METRICS_PER_BATCH // max(1, widest))):
            metrics = [
                Metric(key, float(value), row.time, row.step) for row in part for key, value in row.metrics.items()
            ]
            self._connection.client().log_batch(run.run_id, metrics=metrics, synchronous=True)
            run.last_epoch = max((row.step for row in part if row.report), default=run.last_epoch)

    def tag(self, number: int | None, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        from mlflow.entities import RunTag

        run = self._run(number)
        for part in _chunks(tags.items(), PAIRS_PER_BATCH):
            pairs = [RunTag(key, str(value)) for key, value in part]
            self._connection.client().log_batch(run.run_id, tags=pairs, synchronous=True)

    def end_trial(self, number: int, state: str, reason: str | None, rounds: str | None) -> None:
        """Write how the trial ended, then end its run."""
        tags = {names.STATE: state, names.REASON: reason, names.ROUNDS: rounds}
        self.tag(number, {name: value for name, value in tags.items() if value})
        run = self._run(number)
        self._connection.client().set_terminated(run.run_id, names.STATUS[state])
        run.state = state

    def end_search(self, status: str) -> None:
        """End the parent run."""
        self._connection.client().set_terminated(self._run(None).run_id, status)

    def set_front(self, numbers: frozenset[int]) -> None:
        """Tag completed trials with whether they are on the front, where that changed."""
        for number, run in self._loaded().items():
            front = "true" if number in numbers else "false"
            if run.state == "completed" and run.front != front:
                self._connection.client().set_tag(run.run_id, names.FRONT, front)
                run.front = front

    def sweep(self) -> None:
        """End every run of this search that is still RUNNING; its trials as interrupted."""
        mine = {run.run_id: run for run in self._loaded().values()}
        client = self._connection.client()
        for run in list(self._connection.runs(self._search, "attributes.status = 'RUNNING'")):
            run_id, state = run.info.run_id, run.data.tags.get(names.STATE)
            if names.TRIAL in run.data.tags and state not in names.STATUS:
                state = "interrupted"
                client.set_tag(run_id, names.STATE, state)
            client.set_terminated(run_id, names.STATUS.get(state, "KILLED"))
            if run_id in mine:
                mine[run_id].state = state

    def artifact(self, number: int | None, path: Path, folder: str | None) -> None:
        """Upload a file, or what is in a folder."""
        client = self._connection.client()
        (client.log_artifacts if path.is_dir() else client.log_artifact)(self._run(number).run_id, str(path), folder)

    def text(self, number: int | None, text: str, file: str) -> None:
        """Upload ``text`` as a file."""
        self._connection.client().log_text(self._run(number).run_id, text, file)

    def data(self, number: int | None, data: Mapping[str, Any]) -> None:
        """Name the data of a run."""
        log_data(self._connection.client(), self._run(number).run_id, data)

    def model(self, number: int, *model: Any) -> None:
        """Log a network as a model of a run that has none."""
        log_model(self._connection.client(), self._run(number).run_id, *model)

    def known(self, search: str) -> dict[int, RunInfo]:
        """The trials of a search of this experiment, read anew."""
        found = by_number(self._connection.runs(search))
        return {
            number: RunInfo(run.info.run_id, run.info.status, run.data.tags.get(names.STATE), last_epoch(run))
            for number, run in found.items()
            if number is not None
        }

    def _loaded(self) -> dict[int | None, Run]:
        if self._runs is None:
            found = by_number(self._connection.runs(self._search))
            self._runs = {number: as_run(run) for number, run in found.items()}
        return self._runs

    def _run(self, number: int | None) -> Run:
        if number not in self._loaded():
            wanted = self._wanted.get(number)
            if wanted is None:
                what = "search" if number is None else f"trial {number}"
                raise LookupError(f"the {what} has no run in '{self._search}' and was not started")
            tags = self._tags(number)
            try:
                made = self._connection.client().create_run(
                    self._connection.experiment_id(), wanted.time, tags, wanted.name
                )
            except Exception:
                self._runs = None  # it may exist all the same: look it up before the next attempt
                raise
            run = self._loaded()[number] = Run(made.info.run_id)
            self._add_params(run, wanted.params)
        return self._loaded()[number]

    def _tags(self, number: int | None) -> dict[str, str]:
        parent = {} if number is None else {names.PARENT: self._run(None).run_id}
        return {**self._wanted[number].tags, **parent}

    def _add_params(self, run: Run, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        missing = [Param(key, str(value)) for key, value in params.items() if key not in run.params]
        for part in _chunks(missing, PAIRS_PER_BATCH):
            self._connection.client().log_batch(run.run_id, params=part, synchronous=True)
            run.params.update(param.key for param in part)


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    items = iter(items)
    while chunk := list(islice(items, size)):
        yield chunk
