"""What a search leaves in a real MLflow store."""

from __future__ import annotations

import logging
import math
import subprocess
import sys

import pytest

from prune_search.tracking import Tracker
from prune_search.tracking.connection import open_client


def begin(tracker: Tracker, *trials: int) -> None:
    tracker.start_search({"search.sampler": "tpe"}, {"prune_search.version": "1"}, "Two objectives.")
    for number in trials:
        tracker.start_trial(number, f"#{number:03d} dyprune", {"recipe": "dyprune", "training.optimizer.lr": 0.1})


def test_parent_and_children(tracker, runs, place, request, report):
    one = tracker()
    begin(one, 0, 7)
    one.log(7, report(1, accuracy=0.5, loss=math.nan))
    one.log(7, report(2, accuracy=0.75, latency_ms=3.5))
    one.log_metrics(None, {"hypervolume": 0.25}, step=8)
    one.set_tags(7, {"note": "odd"})
    one.end_trial(7, "completed", "no_event", "3: dense; 5: plateau")
    assert one.flush(60)

    (parent,), (first, second) = runs("search"), runs("trial")
    assert parent.info.run_name == request.node.name
    assert parent.data.params == {"search.sampler": "tpe"}
    assert parent.data.tags["prune_search.version"] == "1"
    assert parent.data.tags["mlflow.note.content"] == "Two objectives."
    assert parent.data.metrics == {"hypervolume": 0.25}
    assert (first.info.run_name, first.info.status) == ("#000 dyprune", "RUNNING")
    assert (second.info.run_name, second.info.status) == ("#007 dyprune", "FINISHED")
    assert second.data.params == {"recipe": "dyprune", "training.optimizer.lr": "0.1"}
    assert {key: second.data.tags[key] for key in second.data.tags if key != "mlflow.runName"} == {
        "prune_search.role": "trial",
        "prune_search.search": request.node.name,
        "prune_search.trial": "7",
        "prune_search.state": "completed",
        "prune_search.reason": "no_event",
        "prune_search.rounds": "3: dense; 5: plateau",
        "mlflow.parentRunId": parent.info.run_id,
        "note": "odd",
    }
    assert second.data.metrics == report(2, accuracy=0.75, latency_ms=3.5).metrics()
    losses = runs.client.get_metric_history(second.info.run_id, "loss")
    assert [(m.step, m.value) for m in losses if m.step == 2] == [(2, 1.0)]
    assert [math.isnan(m.value) for m in losses if m.step == 1] == [True]
    experiment = runs.client.get_experiment_by_name("digits")
    assert experiment.artifact_location == (place / "artifacts").as_uri()


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("completed", "FINISHED"),
        ("stopped", "FINISHED"),
        ("infeasible", "FINISHED"),
        ("failed", "FAILED"),
        ("interrupted", "KILLED"),
    ],
)
def test_states(tracker, runs, state, status):
    one = tracker()
    begin(one, 3)
    one.end_trial(3, state)
    one.end_search(status)
    assert one.flush(60)
    (run,), (parent,) = runs("trial"), runs("search")
    assert (run.info.status, run.data.tags["prune_search.state"], parent.info.status) == (
        status,
        state,
        status,
    )
    assert "prune_search.reason" not in run.data.tags
    assert (run.info.end_time or 0) >= run.info.start_time


def test_wrong_states_are_refused_at_once(tracker):
    one = tracker()
    with pytest.raises(ValueError, match="'done'; allowed: completed, stopped"):
        one.end_trial(0, "done")
    with pytest.raises(ValueError, match="'RUNNING'; allowed: FINISHED"):
        one.end_search("RUNNING")


def test_resume_doubles_nothing(tracker, runs, report):
    one = tracker()
    begin(one, 0, 1)
    for epoch in (1, 2, 3):
        one.log(0, report(epoch))
    one.end_trial(0, "interrupted", "killed")
    assert one.flush(60)

    two = tracker()
    two.start_search({"search.sampler": "random", "search.trials": 4}, {}, "Again.")
    two.start_trial(0, "#000 dyprune", {"recipe": "other", "training.epochs": 5})
    assert two.flush(60)
    again = runs("trial")[0]
    assert again.info.status == "RUNNING"
    assert "prune_search.state" not in again.data.tags and "prune_search.reason" not in again.data.tags
    for epoch in (2, 3, 4, 4, 5):
        two.log(0, report(epoch))
    two.end_trial(0, "completed")
    two.start_trial(2, "#002 dyprune", {})
    assert two.flush(60)

    (parent,), children = runs("search"), runs("trial")
    assert parent.data.params == {"search.sampler": "tpe", "search.trials": "4"}
    assert [child.data.tags["prune_search.trial"] for child in children] == ["0", "1", "2"]
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert children[0].data.params["recipe"] == "dyprune"
    assert children[0].data.params["training.epochs"] == "5"
    for metric in ("epoch", "accuracy", "params"):
        history = runs.client.get_metric_history(children[0].info.run_id, metric)
        assert sorted(m.step for m in history) == [1, 2, 3, 4, 5]
    assert (one.failures, two.failures) == (0, 0)


def test_known(tracker, runs, request, report):
    one = tracker()
    assert one.known() == {}
    begin(one, 4, 1)
    one.log(4, report(6))
    one.end_trial(4, "stopped", "moasha")
    assert one.flush(60)
    known = tracker("another").known(request.node.name)
    assert list(known) == [1, 4]
    assert (known[4].status, known[4].state, known[4].last_epoch) == ("FINISHED", "stopped", 6)
    assert (known[1].status, known[1].state, known[1].last_epoch) == ("RUNNING", None, None)
    assert known[4].run_id == next(r.info.run_id for r in runs("trial") if r.info.run_name.startswith("#004"))


def test_sweep_leaves_nothing_running(tracker, runs):
    one = tracker()
    begin(one, 0, 1)
    one.end_trial(1, "completed")
    assert one.flush(60)
    two = tracker()
    two.sweep()
    assert two.flush(60)
    (parent,), (lost, done) = runs("search"), runs("trial")
    assert (parent.info.status, lost.info.status, done.info.status) == ("KILLED", "KILLED", "FINISHED")
    assert (lost.data.tags["prune_search.state"], done.data.tags["prune_search.state"]) == (
        "interrupted",
        "completed",
    )


def test_front_tags_flip(tracker, runs):
    def fronts() -> list[str | None]:
        assert one.flush(60)
        return [run.data.tags.get("prune_search.front") for run in runs("trial")]

    one = tracker()
    begin(one, 0, 1, 2, 3)
    one.end_trial(0, "completed")
    one.end_trial(1, "completed")
    one.end_trial(2, "stopped")
    one.set_front([0, 2, 3])
    assert fronts() == ["true", "false", None, None]
    one.set_front([1])
    assert fronts() == ["false", "true", None, None]

    runs.client.set_tag(runs("trial")[0].info.run_id, "prune_search.front", "seen by no tracker")
    one = tracker()
    one.set_front([1])
    assert fronts() == ["false", "true", None, None]
    runs.client.set_tag(runs("trial")[0].info.run_id, "prune_search.front", "unchanged, so not written")
    one.set_front([1])
    assert fronts()[0] == "unchanged, so not written"


def test_artifacts(tracker, runs, tmp_path, place):
    (tmp_path / "front.csv").write_text("accuracy\n")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "weights.bin").write_bytes(b"1")
    one = tracker()
    begin(one, 0)
    one.log_text(None, "<p>front</p>", "report.html")
    one.log_artifact(None, tmp_path / "front.csv", "tables")
    one.log_artifact(0, tmp_path / "checkpoint", "checkpoint")
    assert one.flush(60)
    (parent,), (child,) = runs("search"), runs("trial")
    mine = place / "artifacts" / parent.info.run_id / "artifacts"
    assert (mine / "report.html").read_text() == "<p>front</p>"
    assert (mine / "tables" / "front.csv").read_text() == "accuracy\n"
    assert [f.path for f in runs.client.list_artifacts(child.info.run_id, "checkpoint")] == ["checkpoint/weights.bin"]


def test_more_params_than_one_batch(tracker, runs):
    one = tracker()
    one.start_search({f"key.{i}": i for i in range(201)}, {}, "")
    assert one.flush(60)
    assert runs("search")[0].data.params == {f"key.{i}": str(i) for i in range(201)}


def test_mlflow_says_nothing_on_the_console(tracker, uri, capfd):
    begin(tracker(), 0)
    assert tracker().flush(60)
    open_client(uri, logging.getLogger("tracking-test"))
    logging.getLogger("mlflow.store").warning("loud at postgresql://me:word@host/db")
    logging.getLogger("alembic.runtime.migration").warning("loud")
    assert "loud" not in "".join(capfd.readouterr())


def test_a_deleted_experiment_comes_back_with_its_runs(place, uri, runs):
    def once() -> None:
        one = Tracker(uri, "binned", "binned", artifacts=place / "binned", log=logging.getLogger("binned"))
        one.start_search({}, {}, "")
        assert one.close(60) and one.failures == 0

    once()
    binned = runs.client.get_experiment_by_name("binned").experiment_id
    runs.client.delete_experiment(binned)
    once()
    assert len(runs.client.search_runs([binned])) == 1


def test_importing_tracking_does_not_import_mlflow():
    code = "import sys, prune_search.tracking; sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
