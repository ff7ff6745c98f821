"""Twelve broken files and some broken commands: one clear message each, exit code 2, nothing started."""

import pytest
from cli.command import run
from search.small_spaces import SMALL, write

from prune_search.search import layout

BROKEN = {
    "unknown key": (("batch_size: 50", "batchsize: 50"), "training.batchsize", ["batch_size"]),
    "wrong type": (("epochs: 5", "epochs: five"), "training.epochs", ["'five'", "whole number"]),
    "low above high": (("low: 0.02, high: 0.2", "low: 0.2, high: 0.02"), "training.optimizer.lr", ["0.2", "0.02"]),
    "log of nothing": (("low: 0.02, high: 0.2", "low: 0.0, high: 0.2"), "training.optimizer.lr", ["low 0", "log"]),
    "too large": (("epochs: 5", "epochs: 99999999999999999999"), "training.epochs", ["64 bits"]),
    "too fine": (("log: true", "step: 1.0e-12"), "training.optimizer.lr", ["too small", "1,000,000 steps"]),
    "unknown recipe": (("    dyprune:", "    dyprun:"), "recipe.choices.dyprun", ["Did you mean 'dyprune'"]),
    "unreachable path": (("lenet-300-100", "nowhere.models:build"), "model", ["nowhere"]),
    "empty choices": (
        ("{low: 0.02, high: 0.2, log: true}", "{choices: []}"),
        "training.optimizer.lr",
        ["choices is empty"],
    ),
    "duplicate key": (("model: lenet-300-100", "model: lenet-300-100\nmodel: lenet-5"), "model", ["twice"]),
    "no objectives": (("objectives: {accuracy: maximize, params: minimize}", ""), "", ["objectives", "missing"]),
    "unknown metric": (("params: minimize", "parms: minimize"), "objectives.parms", ["Did you mean 'params'"]),
    "constraint": (
        ("objectives:", 'constraints: {accuracy: "over 0.9"}\nobjectives:'),
        "constraints.accuracy",
        ["over 0.9"],
    ),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_broken_files(tmp_path, monkeypatch, capsys, mistake):
    (old, new), key, words = BROKEN[mistake]
    assert old in SMALL
    path = write(tmp_path, SMALL.replace(old, new, 1))
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, "run", path)
    assert code == 2
    assert out == ""
    assert err.startswith(f"error: {path}") and err.count("\n") == 1
    assert key in err
    for word in words:
        assert word in err
    assert "Traceback" not in err
    if key:
        line = int(err.split(f"{path}:")[1].split(":")[0])
        assert key.split(".")[-1].split("[")[0] in path.read_text().splitlines()[line - 1]
    assert [file.name for file in tmp_path.iterdir()] == ["small.yaml"]


def test_missing_file_names_the_nearest(tmp_path, monkeypatch, capsys):
    write(tmp_path)
    code, out, err = run(monkeypatch, capsys, "run", tmp_path / "smal.yaml")
    assert (code, out) == (2, "")
    assert "smal.yaml" in err and "small.yaml" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "nothing"], ["no search is called 'nothing'", "prune-search run"]),
        (["resume", "../etc"], ["no search is called '../etc'"]),
        (["export", "nothing"], ["no search is called"]),
        (["run", "SPACE", "--name", "../up"], ["'../up' cannot name a search", "letters"]),
        (["run", "SPACE", "--name", "mlflow.db"], ["'mlflow.db' cannot name a search", "MLflow's"]),
        (["run", "SPACE", "--set", "training.epoch=3"], ["training.epoch", "epochs"]),
        (["run", "SPACE", "--time", "soon"], ["soon", "30m"]),
        (["run", "SPACE", "--trials", "0"], ["trials"]),
        (["run", "SPACE", "--set", "search.early_stopping=moash"], ["moash", "none"]),
        (["run", "SPACE", "--set", "search.warm_start=[gone]"], ["no search is called 'gone'"]),
        (["simulate", "gone.parquet"], ["there is no table gone.parquet", "--record"]),
        (["simulate", "SPACE"], ["is no table of recorded trials"]),
        (["simulate", "SPACE", "--strategy", "tpe+mosha"], ["'mosha' is unknown. Did you mean 'moasha'?"]),
        (["ui"], ["no MLflow database"]),
        (["no-such-command"], ["No such command"]),
    ],
)
def test_broken_commands(tmp_path, monkeypatch, capsys, arguments, words):
    path = write(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, *[str(path) if a == "SPACE" else a for a in arguments])
    assert (code, out) == (2, "")
    for word in words:
        assert word in err
    assert [file.name for file in tmp_path.iterdir()] == ["small.yaml"]


def test_a_disk_without_space_is_refused(tmp_path, monkeypatch, capsys):
    path = write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(layout, "LEAST_FREE", 10**18)
    code, out, err = run(monkeypatch, capsys, "run", path)
    assert (code, out) == (2, "")
    assert f"MB are free in {tmp_path}; a search wants 1000000000000 MB" in err and "--runs" in err
    assert [file.name for file in tmp_path.iterdir()] == ["small.yaml"]


def test_an_existing_name_is_refused_and_left_alone(tmp_path, monkeypatch, capsys):
    path = write(tmp_path)
    taken = tmp_path / "runs" / "taken"
    taken.mkdir(parents=True)
    (taken / "precious").write_text("x")
    monkeypatch.chdir(tmp_path)
    code, _, err = run(monkeypatch, capsys, "run", path, "--name", "taken")
    assert code == 2 and "prune-search resume taken" in err
    assert [file.name for file in taken.iterdir()] == ["precious"]
