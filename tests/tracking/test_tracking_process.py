"""The process that writes to MLflow: killed, started again, given up, and ended with its driver."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prune_search.tracking import tracker as tracking
from prune_search.tracking.channel import Channel

DRIVER = """
import logging, os, sys
from prune_search.tracking import Tracker
one = Tracker(sys.argv[1], "own", "own", artifacts=None, log=logging.getLogger("own"))
one.start_search({}, {}, "")
assert one.flush(60)
print(one._channel._process.pid, [name for name in ("mlflow", "sqlalchemy") if name in sys.modules], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def own(monkeypatch):
    """A channel of this test's own, with a process that it may kill."""
    made = Channel()
    monkeypatch.setattr(tracking, "channel", lambda: made)
    return made


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def gone(pid, seconds=20.0):
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_what_a_killed_process_had_not_written_is_written_once_by_the_next(own, tracker, runs, report, caplog):
    one = tracker()
    one.start_search({}, {}, "")
    one.start_trial(0, "#000", {"recipe": "set"})
    one.log(0, report(1))
    assert one.flush(60)
    for epoch in range(2, 6):
        one.log(0, report(epoch))
    kill(own._process)
    for epoch in range(6, 10):
        one.log(0, report(epoch))
    one.end_trial(0, "completed")
    assert one.close(60) and one.failures == 0
    (run,) = runs("trial")
    assert (run.info.status, run.data.params) == ("FINISHED", {"recipe": "set"})
    steps = [metric.step for metric in runs.client.get_metric_history(run.info.run_id, "loss")]
    assert sorted(steps) == list(range(1, 10))
    assert "died (-9); it is started again" in caplog.text


def test_a_process_that_always_dies_is_given_up_and_what_it_lacks_is_counted(own, uri, report, monkeypatch, caplog):
    one = tracking.Tracker(uri, "digits", "given-up", artifacts=None, log=logging.getLogger("given-up"))
    one.start_search({}, {}, "")
    assert one.flush(60)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    kill(own._process)
    one.start_trial(0, "#000", {})
    one.log(0, report(1))
    assert not one.flush(60)
    assert not own.alive and not one.close(60)
    assert one.failures == 2
    assert caplog.text.count("it is started again") == 2 and "it is not started again" in caplog.text
    assert "lacks 2 entries" in caplog.text


class Slow:
    """A reply that comes after four waits; the writer gets on in the first ``moving`` of them."""

    def __init__(self, end, moving):
        self.end, self.moving, self.waits = end, moving, 0

    def get(self, timeout):
        self.waits += 1
        self.end.settled += self.waits <= self.moving
        if self.waits <= 4:
            raise queue.Empty
        return None


@pytest.mark.parametrize(("moving", "waits"), [(4, 5), (2, 3), (0, 1)])
def test_closing_waits_as_long_as_something_is_written(own, uri, monkeypatch, moving, waits):
    one = tracking.Tracker(uri, "digits", "slow", artifacts=None, log=logging.getLogger("slow"))
    reply = Slow(one._end, moving)
    monkeypatch.setattr(one, "_expect", lambda: (one._end.replies.setdefault(7, reply) and 7, reply))
    monkeypatch.setattr(own, "tell", lambda number, end, entry: None)
    assert one.close(60) is (moving == 4)
    assert reply.waits == waits


def test_the_driver_imports_no_mlflow_and_takes_the_process_with_it(tmp_path):
    root = Path(__file__).parents[2]
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, f"sqlite:///{tmp_path}/mlflow.db"],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with driver:
        pid, imported = driver.stdout.readline().split(" ", 1)
        assert imported.strip() == "[]" and Path(f"/proc/{pid}").exists()
        driver.kill()
    assert gone(pid)
