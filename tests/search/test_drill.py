"""A search that is killed and interrupted, as a user would do it, with real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import mlflow
import pytest
from safetensors.torch import save_file
from search.small_spaces import SMALL, write

from prune_search.search.driver import Search
from prune_search.search.layout import Layout
from prune_search.search.source import ended_of
from prune_search.search.storage import open_storage, open_study
from prune_search.training.files import read_reports
from prune_search.zoo.models import build_model

EPOCHS, TRIALS = 24, 8
COMMAND = [sys.executable, "-m", "prune_search.cli.main"]


def start(tmp_path, *arguments, out="out.txt"):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with open(tmp_path / out, "ab") as file:
        return subprocess.Popen([*COMMAND, *arguments], cwd=tmp_path, stdout=file, stderr=file, env=environment)


def wait_for(tmp_path, process, condition):
    """Poll ``status.json`` until ``condition(status)`` holds; fails if the process ends first."""
    path = tmp_path / "runs" / "drill" / "status.json"
    while process.poll() is None:
        if path.exists() and condition(json.loads(path.read_text())):
            return
        time.sleep(0.05)
    pytest.fail(f"the search ended with {process.returncode}: {(tmp_path / 'out.txt').read_text()[-2000:]}")


def wait_for_line(path, process, text):
    while text not in path.read_text():
        assert process.poll() is None, path.read_text()
        time.sleep(0.05)


def study_of(tmp_path):
    layout = Layout(tmp_path / "runs", "drill")
    storage = open_storage(layout, None)
    return open_study(layout, storage, {"accuracy": "maximize", "params": "minimize"}), layout


def finished(tmp_path):
    """What the study holds of its finished trials, time stamps included."""
    trials = study_of(tmp_path)[0].trials
    return {
        t.number: (t.datetime_start, t.datetime_complete, t.values, t.params) for t in trials if t.state.is_finished()
    }


def runs_of(tmp_path):
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'small'")
    return client, client.search_runs([experiment.experiment_id], max_results=1000)


@pytest.mark.long
def test_killed_and_interrupted_searches_go_on_where_they_were(tmp_path, monkeypatch):
    weights = build_model("lenet-300-100", input_shape=(1, 8, 8), num_classes=10, seed=5).state_dict()
    save_file(weights, tmp_path / "start.safetensors")
    text = SMALL.replace("epochs: 5", f"epochs: {EPOCHS}")
    text = text.replace("model: lenet-300-100", "model: {name: lenet-300-100, checkpoint: start.safetensors}")
    space = write(tmp_path, text, trials=TRIALS, early_stopping="{name: moasha, reduction: 2}")

    process = start(tmp_path, "run", str(space), "--name", "drill")
    enough = lambda status: sum(status["counts"].values()) >= 2 and len(status["running"]) == 2
    wait_for(tmp_path, process, lambda status: True)
    watcher = start(tmp_path, "status", "drill", "--watch", out="watched.txt")
    wait_for(tmp_path, process, enough)
    wait_for_line(tmp_path / "watched.txt", watcher, ": accuracy ")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert watcher.wait() == 0
    assert "drill: not running, " in (tmp_path / "watched.txt").read_text().splitlines()[-1]
    after_kill = finished(tmp_path)
    running = [t.number for t in study_of(tmp_path)[0].trials if not t.state.is_finished()]
    assert after_kill and running

    process = start(tmp_path, "resume", "drill")
    wait_for(tmp_path, process, lambda status: sum(status["counts"].values()) > len(after_kill))
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    after_interrupt = finished(tmp_path)
    assert {number: after_interrupt[number] for number in after_kill} == after_kill
    assert Counter(run.info.status for run in runs_of(tmp_path)[1])["RUNNING"] == 0

    monkeypatch.chdir(tmp_path)
    Search.resume("drill", runs=tmp_path / "runs", time="10m").run()
    study, layout = study_of(tmp_path)
    assert [t.number for t in study.trials] == list(range(TRIALS))
    assert all(t.state.is_finished() for t in study.trials)
    assert {number: finished(tmp_path)[number] for number in after_interrupt} == after_interrupt

    client, runs = runs_of(tmp_path)
    children = [run for run in runs if run.data.tags["prune_search.role"] == "trial"]
    assert sorted(int(run.data.tags["prune_search.trial"]) for run in children) == list(range(TRIALS))
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in children:
        number = int(run.data.tags["prune_search.trial"])
        ended = ended_of(study.trials[number])
        assert run.data.tags["prune_search.state"] == ended.state
        epochs = [metric.step for metric in client.get_metric_history(run.info.run_id, "epoch")]
        assert sorted(epochs) == list(range(1, ended.report.epoch + 1))
        assert [r.epoch for r in read_reports(layout.trial(number))] == sorted(epochs)
        assert run.data.metrics["accuracy"] == ended.report.accuracy
    states = {run.data.tags["prune_search.state"] for run in children}
    assert states == {"completed", "stopped"}
    front = {
        int(run.data.tags["prune_search.trial"])
        for run in children
        if run.data.tags.get("prune_search.front") == "true"
    }
    assert front == {trial.number for trial in study.best_trials}
