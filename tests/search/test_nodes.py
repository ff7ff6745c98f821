"""A search whose trials train on two ranks each, over several real Ray nodes of this machine, one of which loses a process."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cli import command
from ray.cluster_utils import Cluster
from search.small_spaces import SMALL, write
from training.ranked import run, trained

from prune_search import Search
from prune_search.search.layout import Layout
from prune_search.search.nodes import Node
from prune_search.training import checkpoint
from prune_search.training.files import CHECKPOINT, read_reports

EPOCHS = 6


@pytest.fixture(scope="module")
def cluster():
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        made.add_node(num_cpus=1)
    yield made
    made.shutdown()


def ranks():
    """Process ids of the ranks, by Ray's name for them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::Member" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:  # it has ended
            continue
    return found


def kill_one_after(folder, killed):
    """Kill a rank once the first trial has reported twice."""
    while len(read_reports(folder)) < 2:
        time.sleep(0.02)
    killed.append(max(ranks()))
    os.kill(killed[0], signal.SIGKILL)


def test_a_trial_whose_rank_was_killed_goes_on_and_ends_as_if_nothing_had_happened(cluster, tmp_path):
    text = SMALL.replace("epochs: 5", f"epochs: {EPOCHS}") + "resources: {workers: 2, placement: spread}\n"
    space = write(tmp_path, text, trials=2, concurrency="auto", early_stopping="none")
    layout, killed = Layout(tmp_path / "runs", "nodes"), []
    murderer = threading.Thread(target=kill_one_after, args=(layout.trial(0), killed), daemon=True)
    search = Search(space, runs=tmp_path / "runs", name="nodes", address=cluster.address)
    murderer.start()
    found = search.run()
    murderer.join()
    assert killed and [(r.number, r.state) for r in found.records] == [(0, "completed"), (1, "completed")]
    undisturbed = {record.number: tmp_path / f"undisturbed-{record.number}" for record in found.records}
    run([2], {record.number: (trained, record.config, undisturbed[record.number]) for record in found.records})
    for number, again in undisturbed.items():
        folder = layout.trial(number)
        assert [report.epoch for report in read_reports(folder)] == list(range(1, EPOCHS + 1))
        left, expected = (checkpoint.load(place / CHECKPOINT)["model"] for place in (folder, again))
        assert left.keys() == expected.keys()
        assert all(torch.equal(left[name], expected[name]) for name in left)


def test_doctor_asks_every_node(cluster, tmp_path, monkeypatch, capsys):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    arguments = ["doctor", "--address", cluster.address, "--runs", tmp_path / "runs", "--tracking", store, "--json"]
    code, out, _ = command.run(monkeypatch, capsys, *arguments)
    facts = json.loads(out)
    assert code == 0
    assert [node["cpus"] for node in facts["nodes"]] == [0, 1, 1]
    for node in facts["nodes"]:
        assert node["problems"] == [] and node["shared"] and node["writable"] and abs(node["skew"]) < 1
        assert node["versions"] == facts["versions"]
    assert facts["mlflow"].endswith("answers")
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_would_break_a_search_is_named():
    own = {"python": "3.11.7", "torch": "2.14.1"}
    fine = Node("a", 4, 1, cards=1, versions=own, shared=True, writable=True, skew=0.1, trip=0.01)
    assert fine.problems(own) == []
    broken = {
        "versions": ({**own, "torch": "2.13.0"}, "torch is 2.13.0, the driver has 2.14.1"),
        "shared": (False, "does not see what the driver writes"),
        "writable": (False, "cannot write into the runs directory"),
        "cards": (0, "Ray hands out 1 GPUs, nvidia-smi lists 0"),
        "skew": (-9.0, "its clock is -9.0 s off"),
        "error": ("ModuleNotFoundError", "prune-search does not run there: ModuleNotFoundError"),
    }
    for name, (value, said) in broken.items():
        (problem,) = replace(fine, **{name: value}).problems(own)
        assert problem.startswith(said)
