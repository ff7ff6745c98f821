"""Searches as Ray Jobs on nodes that ``ray start`` made, one head and two workers, a trial on both of them."""

import json

import pytest
from raynodes import Nodes
from search.small_spaces import write

from prune_search.search.layout import Layout
from prune_search.search.results import read

pytestmark = pytest.mark.faults
OWN = """
import torch

import own_width


def build(input_shape=None, num_classes=10, **options):
    inside = own_width.width()
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, inside), torch.nn.ReLU(), torch.nn.Linear(inside, num_classes))
"""
SPACE = """
name: jobs
data: {name: digits, train_size: 300, validation_size: 200}
model: {name: "own_net:build"}
training: {epochs: 3, batch_size: 50}
recipe: {preset: magnitude, schedule.final_sparsity: {low: 0.5, high: 0.95}}
objectives: {accuracy: maximize, params: minimize}
resources: {workers: 2, placement: spread}
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    made = Nodes(tmp_path_factory.mktemp("nodes"), 2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with a search space, the network it names, and what that imports; no other process has it on its path."""
    folder = tmp_path_factory.mktemp("laptop")
    (folder / "own_net.py").write_text(OWN)
    (folder / "own_width.py").write_text("def width():\n    return 48\n")
    write(folder, SPACE, trials=4)
    return folder


def test_a_submitted_search_trains_the_users_code_on_both_nodes(nodes, own, tmp_path):
    there = ["--address", nodes.dashboard]
    done = nodes.run("submit", own / "small.yaml", "--runs", tmp_path / "runs", "--name", "mine", "--set", "training.epochs=2",
                     *there, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "mine"
    followed = nodes.run("logs", "mine", "--follow", *there)
    assert followed.returncode == 0 and "done: 4 trials ended, 0 failed" in followed.stdout, followed.stdout
    state = nodes.run("status", "mine", "--json", *there)
    assert json.loads(state.stdout)["counts"] == {"completed": 4} and not state.stderr
    layout = Layout(tmp_path / "runs", "mine")
    found = read(layout, layout.spec())
    assert [record.report.epoch for record in found.records] == [2] * 4
    assert all(record.config["model"]["name"] == "own_net:build" for record in found.records)


def test_a_submitted_search_is_stopped_and_resumed_by_submitting_it_again(nodes, own, tmp_path):
    there = ["--address", nodes.dashboard]
    submit = ["submit", own / "small.yaml", "--runs", tmp_path / "runs", "--name", "long", *there]
    assert nodes.run(*submit, "--set", "training.epochs=400").returncode == 0
    again = nodes.run(*submit)
    assert again.returncode == 2 and "is running as job long-" in again.stderr
    layout = Layout(tmp_path / "runs", "long")
    stopped = nodes.run("stop", "long", *there)
    assert stopped.returncode == 0 and "asked to stop" in stopped.stdout
    assert "interrupted: " in nodes.run("logs", "long", "--follow", *there).stdout
    assert not layout.driven()
    assert nodes.run(*submit).returncode == 0
    ended = nodes.run("stop", "long", *there)
    assert "asked to stop" in ended.stdout or "had not begun" in ended.stdout
    followed = nodes.run("logs", "long", "--follow", *there).stdout
    assert "prune-search resume long" in followed and not layout.driven()


def test_a_run_at_an_address_sends_the_users_code(nodes, own, tmp_path):
    done = nodes.run(
        "run", own / "small.yaml", "--runs", tmp_path / "runs", "--name", "sent", "--address", nodes.address
    )
    assert done.returncode == 0 and "done: 4 trials ended, 0 failed" in done.stdout, done.stderr


def test_who_lacks_the_token_is_told(nodes, own, tmp_path):
    nodes.environment["RAY_AUTH_MODE"] = "disabled"
    try:
        done = nodes.run("run", own / "small.yaml", "--runs", tmp_path / "runs", "--address", nodes.address)
        asked = nodes.run("logs", "mine", "--address", nodes.dashboard)
    finally:
        nodes.environment["RAY_AUTH_MODE"] = "token"
    for command in (done, asked):
        assert command.returncode == 2 and "RAY_AUTH_MODE=token" in command.stderr


def test_a_job_that_nobody_submitted_is_named(nodes):
    done = nodes.run("logs", "mien", "--address", nodes.dashboard)
    assert done.returncode == 2 and "no job of a search called 'mien'" in done.stderr
