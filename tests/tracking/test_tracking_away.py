"""MLflow away, slow or refusing: the search goes on, the losses are counted."""

from __future__ import annotations

import logging
import shutil
import socket
import threading
from itertools import islice

from mlflow import MlflowClient

from prune_search.tracking import Retry, Tracker
from prune_search.tracking.retry import Patience

QUICK = Retry(attempts=2, first=0.01)


class Away(Exception):
    """As MLflow's: it carries an HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status} from https://me:word@host/api")
        self.status = status

    def get_http_status_code(self) -> int:
        return self.status


def client_of(folder) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def failing(times: int, status: int, seen: list[int]):
    def call() -> None:
        seen.append(len(seen))
        if len(seen) <= times:
            raise Away(status)

    return call


def test_a_server_that_is_away_is_counted(monkeypatch, caplog, report):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but nobody listens
        uri = f"http://me:word@127.0.0.1:{closed.getsockname()[1]}"
        log, heard = logging.getLogger("away"), threading.Event()
        log.addFilter(lambda record: "what is logged waits" not in record.getMessage() or heard.set() or True)
        one = Tracker(uri, "digits", "away", artifacts=None, log=log, retry=QUICK)
        one.start_search({}, {}, "")
        one.start_trial(0, "#000", {})
        for epoch in (1, 2, 3):
            one.log(0, report(epoch))
        one.end_trial(0, "completed")
        one.set_front([0])
        one.sweep()
        assert heard.wait(60)  # the other process has imported mlflow and tried
        assert one.known(timeout=2) == {}
        assert one.failures == 0  # all of it waits
        assert not one.close(0.1)
        assert one.failures == 9  # search, trial, three reports, end, front, sweep, known
    assert "9 entries" in caplog.text and caplog.text.count("what is logged waits until it does") == 1
    assert "word" not in caplog.text and "127.0.0.1" in caplog.text


def test_5000_calls_are_only_queued(report):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()  # accepts, never answers
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}"
        one = Tracker(uri, "digits", "slow", artifacts=None, log=logging.getLogger("slow"), retry=QUICK)
        one.start_search({}, {}, "")
        for number in range(5000):
            one.log(number, report(1))
        assert one.failures == 0
        assert not one.flush(0)
        assert not one.close(0)


def test_a_run_never_started_is_a_failure_of_that_entry_only(tracker, runs, tmp_path, report):
    one = tracker()
    one.start_search({}, {}, "")
    one.log(9, report(1))
    one.log_artifact(None, tmp_path / "missing")
    one.log_text(None, "here", "after.txt")
    assert one.flush(60)
    assert one.failures == 2
    assert [f.path for f in runs.client.list_artifacts(runs("search")[0].info.run_id)] == ["after.txt"]


def test_what_could_not_be_created_is_created_later(tracker, place, tmp_path, report):
    assert tracker().known() == {}  # the database of all tests is there
    folder, log = tmp_path / "away", logging.getLogger("later")
    folder.touch()  # a file where the database's folder should be
    one = Tracker(f"sqlite:///{folder}/mlflow.db", "later", "later", artifacts=None, log=log, retry=QUICK)
    one.start_search({"a": 1}, {}, "")
    one.start_trial(5, "#005", {"recipe": "set"})
    one.log(5, report(1))
    assert not one.flush(1)
    folder.unlink()
    folder.mkdir()
    shutil.copy(place / "runs" / "mlflow.db", folder)
    one.log(5, report(2))
    one.end_trial(5, "completed")
    run = one.known()[5]
    assert (run.status, run.last_epoch, one.failures) == ("FINISHED", 2, 0)
    assert [metric.step for metric in client_of(folder).get_metric_history(run.run_id, "epoch")] == [1, 2]
    client = client_of(folder)
    child = client.get_run(run.run_id)
    assert child.data.params == {"recipe": "set"}
    assert client.get_run(child.data.tags["mlflow.parentRunId"]).data.params == {"a": "1"}
    assert one.close(30)


def test_after_close_nothing_happens_and_nothing_raises(tracker, report):
    one = tracker()
    assert one.close(30)
    one.log(0, report(1))
    assert one.flush(0) is False


def test_what_mlflow_refuses_is_given_up_and_what_finds_it_away_waits(caplog):
    caplog.set_level(logging.DEBUG)
    answers = [True]
    patience = Patience(Retry(attempts=3, first=0.0), lambda: answers.pop(), logging.getLogger("patience"))
    patience.call("writing", 1, failing(2, 503, seen := []))
    assert (len(seen), patience.failures) == (3, 0)
    patience.call("writing", 4, failing(9, 429, seen := []))
    assert (len(seen), patience.failures) == (3, 4)  # MLflow answers, but not this
    patience.call("writing", 1, failing(9, 403, seen := []))
    assert (len(seen), patience.failures) == (1, 5)
    answers.append(False)
    patience.call("writing", 1, failing(20, 503, seen := []))
    assert (len(seen), patience.failures) == (21, 5)
    assert [record.message for record in caplog.records][-1] == "MLflow answers again; what waited is written."
    assert "word" not in caplog.text and "https://***@host/api" in caplog.text


def test_nothing_waits_once_the_search_has_ended():
    patience, seen = Patience(Retry(first=60.0), lambda: False, logging.getLogger("patience")), []
    patience.stop.set()
    patience.call("writing", 2, failing(9, 503, seen))
    assert (len(seen), patience.failures) == (0, 2)


def test_the_same_cause_is_a_warning_once(caplog):
    caplog.set_level(logging.DEBUG)
    patience = Patience(Retry(), lambda: True, logging.getLogger("patience"))
    for _ in range(3):
        patience.call("writing", 1, failing(9, 403, []))
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "DEBUG"]


def test_default_delays():
    assert list(islice(Retry().delays(), 8)) == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
