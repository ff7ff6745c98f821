"""A search on a real Ray cluster of this process: outcomes with names, read back, the same again after a time budget."""

import json
import os
import shutil
import signal
import time

import mlflow
import pytest
import ray
from cli import command
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from search.small_spaces import SMALL, ranks, write

from prune_search.errors import UserError
from prune_search.search import closing
from prune_search.search.driver import Search
from prune_search.search.results import read
from prune_search.training.files import CHECKPOINT, read_reports
from prune_search.training.worker import TrialWorker

USER_CODE = '''
import torch
from torch import nn

class Breaks(nn.Module):
    """Raises in its third training step."""
    def __init__(self, classes):
        super().__init__()
        self.layer, self.steps = nn.Linear(64, classes), 0
    def forward(self, x):
        if self.training:
            self.steps += 1
            if self.steps == 3:
                raise RuntimeError("a model of the user's that raises")
        return self.layer(x.flatten(1))

def breaks(input_shape, num_classes):
    return Breaks(num_classes)

def fine(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, num_classes))
'''

OUTCOMES = """
name: outcomes
data: {name: digits, train_size: 200, validation_size: 100}
model: {choices: {"user_models:fine": {}, "user_models:breaks": {}}}
training:
  epochs: 4
  optimizer: {name: sgd, momentum: 0.0, lr: {low: 0.01, high: 1.0e+30, log: true}}
recipe:
  choices:
    dense: {}
    magnitude: {schedule: {one-shot: {final_sparsity: {low: 0.3, high: 0.999}}}, dense_epochs: 1}
objectives: {accuracy: maximize, params: minimize}
constraints: {accuracy: ">= 0.2"}
"""


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    (folder / "user_models.py").write_text(USER_CODE)
    environment = {"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env=environment, log_to_driver=False)
    yield folder
    ray.shutdown()


WANTED = [
    {"model": "user_models:fine", "lr": 0.1, "recipe": "dense"},
    {"model": "user_models:fine", "lr": 1e30, "recipe": "dense"},
    {"model": "user_models:breaks", "lr": 0.1, "recipe": "dense"},
    {"model": "user_models:fine", "lr": 0.1, "recipe": "magnitude", "sparsity": 0.5},
    {"model": "user_models:fine", "lr": 0.1, "recipe": "magnitude", "sparsity": 0.999},
]


@pytest.fixture(scope="module")
def search(cluster, tmp_path_factory):
    """Makes searches of eight trials: the wanted ones, one that learns slower than the first, and two that the sampler asks for."""
    folder = tmp_path_factory.mktemp("searches")
    (folder / "user_models.py").write_text(USER_CODE)
    queue = []
    for want in WANTED:
        entry = {"model": want["model"], "training.optimizer.lr": want["lr"], "recipe": want["recipe"]}
        if "sparsity" in want:
            entry["recipe.magnitude.schedule.one-shot.final_sparsity"] = want["sparsity"]
        queue.append(entry)
    queue.append({**queue[0], "training.optimizer.lr": 0.01})
    options = {"trials": len(WANTED) + 3, "deterministic": "true", "batch": len(WANTED), "enqueue": json.dumps(queue)}
    options["early_stopping"] = "{name: moasha, reduction: 2}"  # trial 5 is the first that looks at another one

    def make(workers, **more):
        path = write(folder, OUTCOMES, concurrency=workers, **options, **more)
        return Search(path, runs=folder / "runs", name=f"workers-{workers}")

    return make


@pytest.fixture(scope="module")
def two_workers(search):
    """A search with two workers, and what it found."""
    made = search(2)
    return made, made.run()


def test_every_outcome_has_a_name_and_none_ends_the_search(two_workers):
    search, found = two_workers
    states = {record.number: (record.state, record.reason.split(":")[0]) for record in found.records}
    assert len(states) == len(WANTED) + 3
    assert {number: states[number] for number in range(len(WANTED))} == {
        0: ("completed", "no_event"),
        1: ("failed", "nan_loss"),
        2: ("failed", "error"),
        3: ("completed", "final sparsity reached"),
        4: ("failed", "collapsed_layer"),
    }
    assert states[5] == ("stopped", "place 2 of 2 at epoch 1")
    assert "a model of the user's that raises" in found.record(2).reason
    assert "a model of the user's that raises" in (search.layout.trial(2) / "error.txt").read_text()
    completed = {number for number, (state, _) in states.items() if state == "completed"}
    assert {record.number for record in found.front} <= completed

    client = mlflow.MlflowClient(f"sqlite:///{search.layout.runs}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'outcomes'")
    runs = {run.data.tags.get("prune_search.trial"): run for run in client.search_runs([experiment.experiment_id])}
    parent = runs.pop(None)
    assert (parent.info.run_name, parent.data.tags["prune_search.role"], parent.info.status) == (
        "workers-2",
        "search",
        "FINISHED",
    )
    statuses = {"completed": "FINISHED", "stopped": "FINISHED", "failed": "FAILED", "infeasible": "FINISHED"}
    assert {int(n): run.info.status for n, run in runs.items()} == {
        n: statuses[state] for n, (state, _) in states.items()
    }
    for number, run in runs.items():
        tags = run.data.tags
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert tags["prune_search.search"] == "workers-2"
        assert (tags["prune_search.state"], tags["prune_search.reason"].split(":")[0]) == states[int(number)]
        assert run.data.params["recipe"] == found.record(int(number)).recipe
        on_front = int(number) in {record.number for record in found.front}
        assert tags.get("prune_search.front", "false") == str(on_front).lower()
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert ({"checkpoint.safetensors", "config.json"} <= files) == on_front
        assert ("test_accuracy" in run.data.metrics) == on_front
    rounds = [runs[str(number)].data.tags.get("prune_search.rounds") for number in range(len(WANTED))]
    assert rounds == [None, None, None, "1: epochs", None]
    assert [run.data.params["recipe"] for _, run in sorted(runs.items())][: len(WANTED)] == [
        w["recipe"] for w in WANTED
    ]
    kept = {int(path.parent.name) for path in search.layout.folder.glob(f"trials/*/{CHECKPOINT}")}
    assert kept == {record.number for record in found.front}
    assert {"report.html", "front.json"} <= {file.path for file in client.list_artifacts(parent.info.run_id)}


def test_reading_a_search_gives_what_running_it_gave(two_workers):
    search, found = two_workers
    assert read(search.layout, search.spec) == found
    assert all(record.test_accuracy is not None for record in found.front)


def test_what_cannot_be_tested_holds_up_nobody_and_is_not_a_fresh_network(two_workers, tmp_path):
    search, found = two_workers
    record, folders = found.front[0], [tmp_path / name for name in ("cut", "gone", "whole")]
    for folder in folders:
        shutil.copytree(search.layout.trial(record.number), folder)
    cut, gone, _ = (folder / CHECKPOINT for folder in folders)
    cut.write_bytes(cut.read_bytes()[:-1])
    gone.unlink()
    tested = closing.on_cluster([(record.config, str(folder), None) for folder in folders], 1, 0)
    assert isinstance(tested[0], UserError) and str(tested[0]).startswith(f"{cut} is no checkpoint")
    assert isinstance(tested[1], UserError) and str(tested[1]) == f"its checkpoint is gone from {folders[1]}"
    assert tested[2].accuracy == record.test_accuracy


def test_a_deterministic_search_is_the_same_with_one_worker_and_cut_off_by_time(search, two_workers, monkeypatch):
    def outcome(found):
        front, timing = {r.number for r in found.front}, ("seconds", "device_seconds")
        left_out = lambda r: (
            timing if r.number in front else (*timing, "test_accuracy")
        )  # read when it was on the front
        metrics = [{k: v for k, v in r.metrics().items() if k not in left_out(r)} for r in found.records]
        return [(r.params, r.state, r.reason) for r in found.records], metrics, [r.number for r in found.front]

    cut, reported = search(1, time="10m"), Search._reported

    def over_within_the_fourth(self, job, report):
        reported(self, job, report)
        if job.number == 3:
            self.progress.deadline = time.time()
            time.sleep(0.6)  # longer than between two looks at the clock: the trial gets no further

    with monkeypatch.context() as patch:
        patch.setattr(Search, "_reported", over_within_the_fourth)
        before = {r.number: r for r in cut.run().records if r.state != "running"}
    assert list(before) == [0, 1, 2]
    assert not cut.interrupted and cut.progress.phase == "interrupted"
    client = mlflow.MlflowClient(f"sqlite:///{cut.layout.runs}/mlflow.db")
    runs = client.search_runs(["1"], "tags.`prune_search.search` = 'workers-1'")
    assert "time budget over" in {run.data.tags.get("prune_search.reason") for run in runs}
    assert "RUNNING" not in {run.info.status for run in runs}
    whole = Search.resume("workers-1", runs=cut.layout.runs, time="10m").run()
    assert {r.number: r.report for r in whole.records if r.number in before} == {n: r.report for n, r in before.items()}
    assert outcome(whole) == outcome(two_workers[1])


@pytest.mark.parametrize("number", range(6))
def test_a_trial_trained_again_is_the_same_whatever_became_of_it(two_workers, monkeypatch, capsys, number):
    search, found = two_workers
    record, file = found.record(number), search.layout.trial(number) / CHECKPOINT
    code, out, _ = command.run(
        monkeypatch, capsys, "rerun", "workers-2", "--trial", number, "--runs", search.layout.runs, "--json"
    )
    again = json.loads(out)
    assert (code, again["matched"], again["differences"], again["versions"]) == (0, True, [], {})
    assert again["epochs"] == len(read_reports(search.layout.trial(number)))
    assert again["state"] == record.state and (record.state == "stopped" or again["reason"] == record.reason)
    assert file.exists() == (again["epochs"] > 0)
    assert not search.layout.again(number).exists()


def test_a_trial_that_comes_out_otherwise_is_told_from_its_first_difference_on(two_workers, monkeypatch, capsys):
    search, _ = two_workers
    command_line = ("rerun", "workers-2", "--trial", "3", "--runs", search.layout.runs)
    reports, origin = search.layout.trial(3) / "reports.jsonl", search.layout.origin
    before = reports.read_text(), origin.read_text()
    lines = [json.loads(line) for line in before[0].splitlines()]
    true, lines[1]["accuracy"] = lines[1]["accuracy"], 0.125
    reports.write_text("".join(json.dumps(line) + "\n" for line in lines))
    started = json.loads(before[1])
    code = {**started["code"], "user_models.py": "0"}
    origin.write_text(json.dumps({**started, "code": code, "versions": {**started["versions"], "torch": "1.0"}}))
    code, out, _ = command.run(monkeypatch, capsys, *command_line)
    reports.write_text(before[0])
    origin.write_text(before[1])
    said = " ".join(out.split())
    assert code == 1 and "trial 3 did not match" in said and "matched:" not in said
    assert f"epoch 2: accuracy 0.125 then, {true} now versions: torch 1.0 then," in said
    assert f"user_models.py 0 then, {started['code']['user_models.py']} now" in said
    assert len(read_reports(search.layout.again(3))) == 4  # the second run is there to look at
    code, _, err = command.run(monkeypatch, capsys, "rerun", "workers-2", "--trial", 99, "--runs", search.layout.runs)
    assert code == 2 and "trial 99 does not exist" in err


def test_a_search_of_which_everything_fails_ends_soon_and_says_why(two_workers, tmp_path, monkeypatch, capsys):
    runs = two_workers[0].layout.runs
    space = write(tmp_path, SMALL.replace("validation_size: 200", "validation_size: 5000"), trials=40)
    code, _, said = command.run(monkeypatch, capsys, "run", space, "--name", "s", "--runs", runs)
    assert code == 2
    assert said.startswith("error: data.validation_size is 5000; digits has")
    assert said.endswith("No trial could begin. Search 's' is deleted again.\n")
    assert not (runs / "s").exists()


def test_a_trial_that_never_fits_on_this_machine_is_refused_before_anything_starts(cluster, tmp_path):
    space = write(tmp_path, SMALL + "resources: {workers: 3, cpus_per_worker: 1000}\n")
    with pytest.raises(
        UserError, match=r"holds 3 x \(1000 CPUs and 0 GPUs\), this machine has .*Set resources.workers"
    ):
        Search(space, runs=tmp_path / "runs", name="wide").run()
    assert not (tmp_path / "runs" / "wide").exists()


def job(folder, **changes):
    training = {"epochs": 4, "batch_size": 50, "optimizer": {"name": "sgd", "lr": 0.1}}
    plain = {"data": {"name": "digits", "train_size": 200, "validation_size": 100}, "model": "user_models:fine"}
    plain |= {"training": training, "recipe": "magnitude", "seed": 0, **changes}
    shared = {"threads": 1, "cpus": 1.0, "gpus": 0.0, "measure": [], "workers": 2}
    return shared | {"number": 0, "folder": str(folder), "config": plain}


def test_ranks_outlive_a_configuration_that_fails_and_are_replaced_where_one_dies(cluster, tmp_path):
    bundles = placement_group([{"CPU": 1}] * 2)
    place = PlacementGroupSchedulingStrategy(bundles, placement_group_capture_child_tasks=True)
    worker = ray.remote(TrialWorker).options(num_cpus=0, scheduling_strategy=place).remote(job(tmp_path / "a"))
    step = lambda: ray.get(worker.step.remote())
    first = step()
    assert (first["state"], json.loads(first["report"])["epoch"]) == ("running", 1)

    ray.get(worker.reset_config.remote(job(tmp_path / "b", model="user_models:breaks")))
    failed = step()
    assert (failed["state"], failed["reason"]) == ("failed", "error: RuntimeError: a model of the user's that raises")
    ray.get(worker.reset_config.remote(job(tmp_path / "a")))
    second = step()
    assert (json.loads(second["report"])["epoch"], second["pid_of_trial"]) == (2, first["pid_of_trial"])

    os.kill(max(ranks()), signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayError):
        step()
    ray.get(worker.reset_config.remote(job(tmp_path / "a")))
    third, fourth = step(), step()
    assert third["pid_of_trial"] != first["pid_of_trial"]
    assert [json.loads(result["report"])["epoch"] for result in (third, fourth)] == [3, 4]
    assert (fourth["state"], fourth["reason"]) == ("completed", "epochs")
    ray.get(worker.reset_config.remote(job(tmp_path / "a")))  # one that has ended trains no further
    assert step()["report"] == fourth["report"]
    ray.get(worker.cleanup.remote())
    ray.kill(worker)
    remove_placement_group(bundles)


def test_doctor_asks_every_node(cluster, tmp_path, monkeypatch, capsys):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    arguments = ["doctor", "--address", "auto", "--runs", tmp_path / "runs", "--tracking", store, "--json"]
    code, out, _ = command.run(monkeypatch, capsys, *arguments, "--storage", f"file://{tmp_path}/kept")
    facts = json.loads(out)
    (node,) = facts["nodes"]
    assert code == 0 and node["problems"] == [] and node["versions"] == facts["versions"]
    assert node["cpus"] == 2 and node["shared"] and node["writable"] and abs(node["skew"]) < 1
    assert facts["mlflow"].endswith("answers") and list((tmp_path / "runs").iterdir()) == []
    assert node["storage"] == "" and facts["storage"] == f"one can write to file://{tmp_path}/kept"
    assert list((tmp_path / "kept").iterdir()) == []

    file = tmp_path / "file"
    file.write_text("")
    code, out, _ = command.run(monkeypatch, capsys, *arguments, "--storage", f"file://{file}")
    facts = json.loads(out)
    (problem,) = facts["nodes"][0]["problems"]
    assert code == 1 and problem == facts["storage"]
    assert problem.startswith(f"resources.storage: file://{file} cannot be written: FileExistsError")


PRUNING_ONLY = """
name: pruning-only
data: {name: digits, train_size: 200, validation_size: 100}
model: lenet-300-100
training: {epochs: 5, batch_size: 50, optimizer: {name: sgd, lr: 0.1}}
recipe: {preset: magnitude, dense_epochs: 3, schedule: {one-shot: {final_sparsity: {low: 0.5, high: 0.99}}}}
objectives: {accuracy: maximize, params: minimize}
"""


@pytest.mark.long
def test_trials_take_over_what_others_trained_and_find_the_same(tmp_path):
    found = {}
    for reuse in ("auto", "false"):
        path = write(tmp_path, PRUNING_ONLY, deterministic="true", reuse=reuse, trials=5)
        found[reuse] = Search(path, runs=tmp_path / "runs", name=f"reuse-{reuse}").run()
        assert not (tmp_path / "runs" / f"reuse-{reuse}" / "stages").exists()
    shared, alone = ([record.report for record in found[reuse].records] for reuse in ("auto", "false"))
    spent = {"seconds", "device_seconds", "train_flops_spent"}
    figures = lambda report: {name: value for name, value in report.metrics().items() if name not in spent}
    assert [figures(report) for report in shared] == [figures(report) for report in alone]
    assert all(report.train_flops_spent == report.train_flops for report in alone)
    assert sorted(report.train_flops_spent < report.train_flops for report in shared) == [False, True, True, True, True]
