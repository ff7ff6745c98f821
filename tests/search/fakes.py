"""Stand-ins for MLflow and for a cluster, so that a whole search runs in this process without training anything."""

import time
from contextlib import nullcontext
from functools import partial

from search import test_source

from prune_search.pareto.charts import Layer
from prune_search.search import closing, execution
from prune_search.search.jobs import Ended, NoMore, Wait

DATA = {"name": "digits", "root": "data", "fingerprint": "0" * 64}
LAYERS = (Layer("1", 100, 25, 100, 50),)
report = partial(test_source.report, test_accuracy=None)


class Recorder:
    """A tracker that notes every call."""

    def __init__(self):
        self.calls, self.runs, self.failures = [], {}, 0

    def known(self):
        return self.runs

    def __getattr__(self, name):
        return lambda *arguments, **options: self.calls.append((name, *arguments))

    def of(self, *names):
        return [call for call in self.calls if call[0] in names]


class Cluster:
    """Runs jobs one after another: each reports one epoch of ``result(job)`` and has completed; test accuracy is 0.5.

    Attributes:
        tested: The folders whose test accuracy was asked for, one list for each time.
        urls: Where the last of them are kept.
        options: What ``execute`` was called with last.
        earlier: Reports of a job before the one of ``result``.
        before_end: Called with (job, options) when a job has reported.
    """

    def __init__(self, monkeypatch, result=lambda job: report(0.9 - job.number / 100, 1000 - job.number)):
        self.tested, self.options, self.result, self.before_end = [], {}, result, lambda job, options: None
        self.earlier = lambda job: []
        monkeypatch.setattr(execution, "connected", lambda *arguments: nullcontext())
        monkeypatch.setattr(execution, "resources", lambda config, address: (execution.Share(), 1))
        monkeypatch.setattr(execution, "execute", self.execute)
        monkeypatch.setattr(closing, "on_cluster", self.test)

    def execute(self, source, **options):
        self.options = options
        while not options["stop"]() and not isinstance(job := source.next(), NoMore):
            if isinstance(job, Wait):
                time.sleep(0.001)
                continue
            job.folder.mkdir(parents=True, exist_ok=True)
            for earlier in self.earlier(job):
                source.report(job, earlier)
            got = self.result(job)
            ended = got if isinstance(got, Ended) else Ended("completed", "epochs", got)
            if ended.report:
                source.report(job, ended.report)
            self.before_end(job, options)
            if options["stop"]():
                return
            source.end(job, ended)

    def test(self, jobs, cpus, gpus):
        self.tested.append([folder.rsplit("/", 1)[1] for _, folder, _ in jobs])
        self.urls = [url for *_, url in jobs]
        return [closing.Tested(0.5, LAYERS, DATA)] * len(jobs)
