"""A search from the driver's side: new, resumed, stopped; one process at a time."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from prune_search.cost.metrics import MEASURED, Report
from prune_search.errors import UserError
from prune_search.search import closing, execution, kept
from prune_search.search import layout as layouts
from prune_search.search.asking.first import first_trials
from prune_search.search.environment import code, machine, versions
from prune_search.search.jobs import Ended, Job
from prune_search.search.logs import logging_to
from prune_search.search.mlflow import delete, local_weights, open_tracker, tracking_uri
from prune_search.search.progress import Progress, shown
from prune_search.search.results import TEST_ACCURACY, Found, Record, read
from prune_search.search.source import StudySource, ended_of, job_of
from prune_search.search.storage import open_storage
from prune_search.search.tally import Tally
from prune_search.spec import Spec, load_spec
from prune_search.tracking import Tracker, redacted
from prune_search.training.files import read_reports

PACKAGES = ("prune-search", "torch", "torchvision", "ray", "optuna", "mlflow", "numpy")
log = logging.getLogger("prune_search")


class Search:
    """One search: the same thing as one Optuna study, one Tune experiment, one MLflow parent run, one directory.

    Args:
        spec: What to search, from :func:`prune_search.load_spec`, or a path to the YAML file.
        runs: Where searches write.
        name: The search's name; default: the YAML's name and a time stamp.
        address: A Ray cluster, ``auto`` or ``HOST:PORT``; None runs on this machine.

    Raises:
        UserError: The name is taken, the YAML has a mistake, or one cannot write to ``resources.storage``.
    """

    def __init__(
        self,
        spec: Spec | str | Path,
        *,
        runs: str | Path = "runs",
        name: str | None = None,
        address: str | None = None,
    ):
        self.spec = spec if isinstance(spec, Spec) else load_spec(spec)
        first = first_trials(self.spec, Path(runs))
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.layout = layouts.new(Path(runs), name or f"{self.spec.name}-{stamp}")
        try:
            kept.claim(self.layout, self.spec, new=True)
        except UserError:
            self.layout.folder.rmdir()
            raise
        text = self.spec.to_yaml()
        self.layout.space.touch(0o600 if redacted(text) != text else 0o666)  # it may hold passwords
        self.layout.space.write_text(text)
        origin = {
            "roots": [str(root) for root in self.spec.roots],
            "versions": versions(*PACKAGES),
            "platform": platform.platform(),
            "machine": machine(),
            "code": code(self.spec.roots[0], self.spec.own_modules()),
        }
        layouts.write_json(self.layout.origin, origin)
        layouts.write_json(self.layout.first, first)
        self._prepare(address, new=True)

    @classmethod
    def resume(cls, name: str, *, runs: str | Path = "runs", address: str | None = None, **search: object) -> Search:
        """A search that exists, to go on with: ``run()`` continues it.

        Args:
            search: Values of the section ``search`` to change, such as trials or time.
        """
        self = cls.__new__(cls)
        self.layout = layouts.existing(Path(runs), name)
        spec = self.layout.spec()
        kept.claim(self.layout, spec)
        changed = {key: value for key, value in search.items() if value is not None}
        settings = spec.search.model_validate({**spec.search.model_dump(), **changed})
        self.spec = replace(spec, search=settings)
        self._prepare(address, new=False)
        return self

    def _prepare(self, address: str | None, *, new: bool) -> None:
        self.address, self._new, self._began = address, new, False
        self.spec = replace(self.spec, enqueue=tuple(json.loads(self.layout.first.read_text())))
        self.progress = Progress(self.layout.name, self.spec.search.trials, None)
        self.untracked = 0
        """Entries that MLflow did not get before the search ended."""
        self._stop = threading.Event()

    def run(self, view: AbstractContextManager | None = None) -> Found:
        """Search until the trials, the time or the user end it.

        Args:
            view: Entered while the search runs; reads ``self.progress``.

        Returns:
            What was found, test accuracies of the front included.

        Raises:
            UserError: No trial can begin: resources, data, model or a function do not fit. A new search is deleted then.
            Away: What trials keep at a URL cannot be had.
        """
        try:
            found = self._driven(view)
        except UserError as error:
            raise self._undone(error) if not self._began else error from None
        if found.mistake:
            raise self._undone(UserError(f"{found.mistake} No trial could begin."))
        return found

    def _undone(self, error: UserError) -> UserError:
        """Delete a new search, in which nothing was trained; the error, with that."""
        if not self._new:
            return error
        try:
            delete(self.layout)
        except Exception:  # MLflow or the storage is away
            return error
        return UserError(f"{error} Search '{self.layout.name}' is deleted again.")

    def _driven(self, view: AbstractContextManager | None) -> Found:
        with (
            self.layout.driver(),
            logging_to(self.layout.log, self.progress),
            _interrupts(self._stop),
            view or nullcontext(),
        ):
            self.layout.stop.unlink(missing_ok=True)
            spec = self.spec
            threads, roots = spec.resources.threads, [*map(str, spec.roots), os.getcwd()]
            with ExitStack() as cluster:
                cluster.enter_context(execution.connected(self.address, threads, roots, spec.own_modules()))
                tracker = open_tracker(self.layout, spec)  # now, since its process would hold up those of Ray
                try:
                    return self._run(tracker, cluster)
                finally:
                    tracker.sweep()
                    tracker.close()
                    self.untracked = tracker.failures
                    self.progress.write(self.layout)

    def stop(self) -> None:
        """End the search soon: trials in flight stay at their last checkpoint."""
        self._stop.set()

    def _run(self, tracker: Tracker, cluster: ExitStack) -> Found:
        spec, progress = self.spec, self.progress
        share, slots = execution.resources(spec.resources, self.address)
        tracker.start_search(
            _settings(spec), self._commit(), f"Search {self.layout.name} over {len(spec.parameters())} parameters."
        )
        self._storage = open_storage(self.layout, spec.search.storage)
        slots = slots if spec.search.concurrency == "auto" else spec.search.concurrency
        source = StudySource(
            spec,
            self.layout,
            self._storage,
            slots,
            started=self._started,
            reported=self._reported,
            ended=self._ended,
            enough=self._enough,
        )
        self._source, self._tracking, self._keeper = source, tracker, kept.Keeper(self.layout, spec)
        self._tally = Tally.of(read(self.layout, spec, self._storage))
        self._tally.since_gain = self._tally.failures = 0
        progress.update(self._tally)
        self._make_whole(source)
        progress.started = time.time()
        progress.deadline = progress.started + spec.search.time if spec.search.time else None
        progress.phase = "searching"
        if spec.search.sampler == "auto":
            progress.events.append(f"sampler auto is {source.sampler}: {source.why}")
        progress.write(self.layout)
        self._began = True
        execution.execute(
            source,
            storage=self.layout.folder / "ray",
            share=share,
            concurrency=slots,
            measure=tuple(name for name in MEASURED if name in _named_metrics(spec)),
            stop=self._should_stop,
            prepare=local_weights(tracking_uri(self.layout, spec)),
            stages=self._stages(),
        )
        source.close(interrupted=self._asked_to_stop)
        self._keeper.close()
        for number in list(progress.running):
            tracker.end_trial(number, "interrupted", self._why())
        found = read(self.layout, spec, self._storage)
        finished = not any(record.state == "running" for record in found.records) and not self._asked_to_stop
        if finished:
            shutil.rmtree(self.layout.stages, ignore_errors=True)
        progress.running.clear()
        progress.update(Tally.of(found))
        for record in found.front:
            kept.fetch(self.layout, spec, record.number)
        if not self._asked_to_stop:
            progress.phase = "testing the front"
            found = self._test(found, share)
        cluster.close()
        closing.log_front(tracker, self.layout, found)
        self._report(tracker)
        progress.phase = "done" if finished else "interrupted"
        tracker.end_search("FINISHED" if finished else "KILLED")
        return found

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C or :meth:`stop` ended it."""
        return self._stop.is_set()

    @property
    def _asked_to_stop(self) -> bool:
        return self.interrupted or self.layout.stop.exists()

    def _commit(self) -> dict[str, str]:
        """The tag by which MLflow shows a run's source."""
        commit = json.loads(self.layout.origin.read_text()).get("code", {}).get("git commit")
        return {"mlflow.source.git.commit": commit.split()[0]} if commit else {}

    def _stages(self) -> dict[str, object] | None:
        """Where trials find epochs of others; nowhere if they keep their files at a URL, or several workers train one."""
        reused, resources = self.spec.reused(), self.spec.resources
        if reused == "none" or resources.storage or resources.workers > 1:
            return None
        return {"folder": str(self.layout.stages), "pruned": reused == "all"}

    def _should_stop(self) -> bool:
        """Whether trials in flight shall end, too."""
        deadline = self.progress.deadline
        return self._asked_to_stop or (deadline is not None and time.time() >= deadline + self.spec.search.grace)

    def _enough(self) -> bool:
        """Whether no further trial shall begin."""
        search, tally = self.spec.search, self._tally
        deadline = self.progress.deadline
        return (
            (deadline is not None and time.time() >= deadline)
            or (search.device_time is not None and tally.device_seconds >= search.device_time)
            or (search.patience is not None and tally.since_gain >= search.patience)
            or tally.hopeless
        )

    def _why(self) -> str:
        return "stopped by the user" if self._asked_to_stop else "time budget over"

    def _make_whole(self, source: StudySource) -> None:
        """Write to MLflow what a driver that died had told the study only."""
        finished = [(trial, ended_of(trial)) for trial in source.trials() if trial.state.is_finished()]
        if not finished:
            return
        known = self._tracking.known()
        for trial, ended in finished:
            info = known.get(trial.number)
            if ended is None or (info and info.state == ended.state and (info.last_epoch or 0) >= _last_epoch(ended)):
                continue
            config = json.loads(trial.user_attrs["config"])
            job = job_of(self.layout, trial.number, config, trial.params)
            self._tracking.start_trial(job.number, job.name, _shown(job))
            for report in read_reports(job.folder):
                self._tracking.log(job.number, report)
            self._tracking.end_trial(job.number, ended.state, ended.reason, ended.rounds)

    def _started(self, job: Job) -> None:
        self.progress.running[job.number] = {"name": job.name, "epoch": 0}
        self._tracking.start_trial(job.number, job.name, _shown(job))
        for report in read_reports(job.folder):  # of a driver that died before it had written them
            self._tracking.log(job.number, report)
        self.progress.write(self.layout)

    def _reported(self, job: Job, report: Report) -> None:
        self._tracking.log(job.number, report)
        self.progress.running[job.number] = {"name": job.name, **shown(report)}

    def _ended(self, job: Job, ended: Ended) -> None:
        self._tracking.end_trial(job.number, ended.state, ended.reason, ended.rounds)
        self.progress.running.pop(job.number, None)
        before = set(self.progress.front)
        self._tally.add(Record(job.number, ended.state, ended.reason, ended.report, job.config, job.params))
        self.progress.update(self._tally)
        front = set(self.progress.front)
        if front != before:
            self._tracking.set_front(self.progress.front)
        self._keeper.drop((before | {job.number}) - front)
        if ended.state != "completed":
            self._keeper.cut(job.number)
        self.progress.events.append(_line(job, ended, job.number in self.progress.front))
        self.progress.write(self.layout)

    def _test(self, found: Found, share: execution.Share) -> Found:
        """Read the test split for members of the front that have no test accuracy yet."""
        study = self._source.study
        tested = dict(study.user_attrs.get(TEST_ACCURACY, {}))
        missing = [record for record in found.front if str(record.number) not in tested]
        folders = [self.layout.trial(record.number) for record in missing]
        urls = [self.layout.remote(self.spec.resources.storage, folder) for folder in folders]
        jobs = [(record.config, str(folder), url) for record, folder, url in zip(missing, folders, urls, strict=True)]
        for record, result in zip(missing, closing.on_cluster(jobs, share.cpus, share.gpus), strict=True):
            if isinstance(result, UserError):
                log.warning("Trial %d was not tested: %s", record.number, result)
                continue
            tested[str(record.number)] = result.accuracy
            closing.keep(self.layout.trial(record.number), result)
            if result.refusal:
                log.warning("Trial %d has no model in MLflow: %s", record.number, result.refusal)
            else:
                kept.fetch_network(self.layout, self.spec, record.number)
        study.set_user_attr(TEST_ACCURACY, tested)
        return read(self.layout, self.spec, self._storage)

    def _report(self, tracker: Tracker) -> None:
        """The page about the search; what has been found does not depend on it."""
        from prune_search.search.report.page import write_report

        try:
            tracker.log_artifact(None, write_report(self.layout, self.spec, storage=self._storage))
        except Exception:
            log.exception("The report was not written. Try again: prune-search report %s", self.layout.name)


def _last_epoch(ended: Ended) -> int:
    return ended.report.epoch if ended.report else 0


def _shown(job: Job) -> dict[str, object]:
    """What MLflow shows of a trial's parameters: the sampled ones, and always the recipe."""
    return {"recipe": job.name.split(" ", 1)[1], **job.params}


def _line(job: Job, ended: Ended, front: bool) -> str:
    if ended.report is None:
        return f"{job.name} {ended.state}: {ended.reason}"
    report = ended.report
    text = f"{job.name} {ended.state}: accuracy {report.accuracy:.4f}, {report.params:,} params ({report.params_reduction:.1f}x)"
    return text + (", on the front" if front else "") + (f" ({ended.reason})" if ended.state != "completed" else "")


def _settings(spec: Spec) -> dict[str, str]:
    search = spec.search
    settings = {
        "objectives": ", ".join(f"{name} {direction}" for name, direction in spec.objectives.items()),
        "constraints": ", ".join(map(str, spec.constraints)),
        "sampler": search.sampler,
        "trials": search.trials,
        "time": search.time,
        "deterministic": search.deterministic,
        "early_stopping": search.early_stopping.name,
    }
    return {name: str(value) for name, value in settings.items() if value}


def _named_metrics(spec: Spec) -> set[str]:
    return set(spec.objectives).union(*(condition.names() for condition in spec.constraints))


@contextmanager
def _interrupts(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C asks for a graceful end; a second one is Python's own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
