"""What is read from a search's trials, in exact numbers: front, control, dense cost, progress, the front's files."""

import dataclasses
import errno
import json
import math
from types import SimpleNamespace

import pytest
import torch
from search.fakes import Recorder, report

from prune_search.export import formats, load_safetensors
from prune_search.export.load_safetensors import load
from prune_search.search import closing, progress
from prune_search.search.layout import Layout
from prune_search.search.progress import Progress
from prune_search.search.results import Found, Record, control_of, dense_metrics
from prune_search.search.tally import Tally
from prune_search.spec.config import TrialConfig
from prune_search.training import files
from prune_search.training.data import data_of
from prune_search.training.evaluation import evaluate
from prune_search.training.remote import claim, push
from prune_search.training.trial import Trial

TWO = {"accuracy": "maximize", "params": "minimize"}
SHORT = {
    "data": {"name": "digits", "train_size": 300, "validation_size": 200},
    "model": "lenet-300-100",
    "training": {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1}},
    "recipe": "dense",
}


def record(number, accuracy, params, state="completed", recipe="dyprune", reason="epochs", **more):
    tested = more.pop("test_accuracy", None)
    return Record(number, state, reason, report(accuracy, params, **more), {"recipe": recipe}, {}, tested)


FOUND = Found(
    TWO,
    (
        record(0, 0.5, 10, test_accuracy=0.25),
        record(1, 0.9, 1000, recipe="dense", reason="no_event"),
        record(2, 0.7, 100),
        record(3, 0.6, 500),
        record(4, 0.99, 1, state="infeasible"),
        record(5, 0.98, 900, recipe="dyprune", reason="no_event"),
        record(6, 0.95, 1000, recipe="dense", reason="no_event"),
        record(7, 0.97, 1000, recipe="dense"),
        Record(8, "running", "", None, {}, {}),
        Record(9, "failed", "nan_loss", None, {"recipe": "random"}, {}),
    ),
)


def test_the_front_is_sorted_by_the_first_objective_best_first():
    assert [r.number for r in FOUND.front] == [5, 2, 0]
    other = Found({"params": "minimize", "accuracy": "maximize"}, FOUND.records)
    assert [r.number for r in other.front] == [0, 2, 5]
    assert Found(TWO, FOUND.records[-2:]).front == []


def test_the_control_is_the_most_accurate_completed_dense_trial_without_an_event():
    assert control_of(FOUND).number == 6
    assert control_of(Found(TWO, FOUND.records[2:6])) is None


def test_metrics_of_a_record_have_the_test_accuracy_where_there_is_one():
    assert FOUND.record(0).metrics()["test_accuracy"] == 0.25
    assert "test_accuracy" not in FOUND.record(1).metrics()
    assert FOUND.record(8).metrics() == {}
    assert (FOUND.record(8).recipe, FOUND.record(9).recipe, FOUND.record(10)) == ("?", "random", None)


def test_the_dense_network_from_any_report():
    one = report(
        params=300, params_reduction=4.0, flops=100, flops_reduction=8.0, train_flops=50, train_flops_ratio=0.5
    )
    assert dense_metrics(one) == {
        "params": 1200, "physical_params": 1200, "flops": 800, "macs": 400, "physical_macs": 400,
        "train_flops": 100.0, "train_flops_spent": 100.0,
    }  # fmt: skip
    assert dense_metrics(dataclasses.replace(one, train_flops_ratio=0.0))["train_flops"] == 0.0


def test_a_network_of_which_nothing_is_left_tells_nothing_of_the_dense_one():
    gone = record(0, 0.1, 10, params_reduction=100.0, flops=0, flops_reduction=math.inf)
    whole = record(1, 0.5, 100, params_reduction=10.0)
    found = Found(TWO, (gone, whole))
    assert found.dense["params"] == 1000 and Found(TWO, (gone,)).dense == {}
    assert found.hypervolume == pytest.approx(0.5 + 0.1)
    tally = Tally.of(found)
    assert tally.hypervolume == pytest.approx(found.hypervolume)
    fewer = Found({"accuracy": "maximize", "flops_reduction": "maximize"}, (gone, whole))
    assert [r.number for r in fewer.front] == [1] == list(Tally.of(fewer)._front)


def test_the_hypervolume_is_that_of_the_front_against_the_dense_network():
    found = Found(TWO, (record(0, 0.5, 100, params_reduction=10.0), record(1, 0.25, 100, params_reduction=10.0)))
    assert found.hypervolume == pytest.approx(0.5)  # accuracy 0.5, one decade of parameters
    assert Found(TWO, ()).hypervolume == 0.0
    timed = Found({"accuracy": "maximize", "latency_ms": "minimize"}, found.records)  # a dense network's is not known
    assert math.isnan(timed.hypervolume)


# Progress


def test_progress_counts_what_ended_and_has_the_best_of_what_completed():
    seen = Progress("s", 20, None)
    seen.update(Tally.of(FOUND))
    assert seen.counts == {"completed": 7, "infeasible": 1, "failed": 1}
    assert (seen.ended, seen.front, seen.hypervolume) == (9, [5, 2, 0], FOUND.hypervolume)
    assert seen.best == {"accuracy": (0.98, 5), "params": (10, 0)}


@pytest.mark.parametrize(
    ("states", "hopeless"),
    [
        (["failed"] * 9, False),
        (["failed"] * 10, True),
        (["completed", *["failed"] * 10], False),
        ([*["failed"] * 9, "stopped", "failed"], False),
        (["bad_input: x", "bad_input: x"], False),
        (["bad_input: x", "bad_input: x", "bad_input: x"], True),
        (["bad_input: x", "bad_input: y", "bad_input: x", "bad_input: x"], False),
        (["completed", *["bad_input: x"] * 3], False),
        (["failed", *["bad_input: x"] * 3], True),
    ],
)
def test_ten_failures_or_three_times_the_same_mistake_and_nothing_else_are_hopeless(states, hopeless):
    tally = Tally(FOUND.objectives)
    for number, state in enumerate(states):
        mistaken = ":" in state
        tally.add(record(number, 0.9, 1000, "failed" if mistaken else state, reason=state if mistaken else "nan_loss"))
    assert tally.hopeless is hopeless


def test_a_mistake_is_one_only_where_no_trial_began():
    mistaken = Record(0, "failed", "bad_input: no such file.", None, {}, {})
    assert (
        Found(TWO, (mistaken, dataclasses.replace(mistaken, number=1, state="running", reason=""))).mistake
        == "no such file."
    )
    assert Found(TWO, (mistaken, record(1, 0.5, 10))).mistake == ""
    assert Found(TWO, (mistaken, dataclasses.replace(mistaken, reason="nan_loss: x"))).mistake == ""
    assert Found(TWO, (dataclasses.replace(mistaken, report=report(0.5, 10)),)).mistake == ""
    assert Found(TWO, ()).mistake == ""


@pytest.mark.parametrize(
    ("trials", "deadline", "ended", "left"),
    [
        (None, None, 4, None),
        (20, None, 0, None),
        (20, None, 4, 400.0),
        (20, 1150.0, 4, 50.0),
        (20, 9000.0, 4, 400.0),
        (None, 1150.0, 0, 50.0),
        (20, 1050.0, 4, 0.0),
    ],
)
def test_time_left_is_the_pace_or_the_budget_whichever_ends_first(monkeypatch, trials, deadline, ended, left):
    monkeypatch.setattr(progress, "time", SimpleNamespace(time=lambda: 1100.0))
    seen = Progress("s", trials, deadline, started=1000.0)
    seen.counts.update(completed=ended // 2, failed=ended - ended // 2)
    assert seen.seconds_left() == left


# The front's files


def test_the_summary_says_what_to_export_and_has_the_front_as_a_table():
    found = Found(TWO, (record(3, 0.5, 1234, params_reduction=4.0, flops_reduction=8.0),))
    rows = closing.summary(found, "s").split("\n")
    assert rows[0].startswith("1 trials, 1 completed, 1 on the front.")
    assert rows[2].startswith("* the best trade-off (the knee of the front), the smallest that is as accurate as")
    assert rows[2].endswith(
        "trial 3, dyprune, validation accuracy 0.5000, 1,234 parameters (4.0x fewer). `prune-search export s`"
    )
    assert rows[-1] == "| 3 | dyprune | 0.5000 |  | 1,234 | 4.0x | 8.0x |"
    tested = Found(TWO, (record(3, 0.5, 1234, test_accuracy=0.25),))
    assert "| 0.5000 | 0.2500 |" in closing.summary(tested, "s")


def test_what_is_logged_of_the_front(tmp_path):
    layout, tracker = Layout(tmp_path, "s"), Recorder()
    for member in FOUND.front:
        layout.trial(member.number).mkdir(parents=True)
        (layout.trial(member.number) / ("layers.json" if member.number == 0 else "checkpoint.safetensors")).write_text(
            ""
        )
    data = {"name": "digits", "fingerprint": "ab"}
    (layout.trial(5) / "data.json").write_text(json.dumps(data))
    for name in ("model.safetensors", "architecture.json"):
        (layout.trial(2) / name).write_text("")
    closing.log_front(tracker, layout, FOUND)
    assert tracker.of("log_data") == [("log_data", 5, data), ("log_data", None, data)]
    (model,) = tracker.of("log_model")
    assert model[1:3] == (2, "model") and [path.parent for path in model[3]] == [layout.trial(2)] * 2
    assert model[5] == {"accuracy", "test_accuracy", "params", "params_reduction", "flops_reduction"}
    assert tracker.of("set_front") == [("set_front", [5, 2, 0])]
    files = [(number, path.name) for _, number, path in tracker.of("log_artifact")]
    own = [(n, ["config.json", "checkpoint.safetensors"]) for n in (5, 2)] + [(0, ["config.json", "layers.json"])]
    assert files == [(n, name) for n, names in own for name in names]
    tested, whole = tracker.of("log_metrics")
    assert tested[1:] == (0, {"test_accuracy": 0.25}, 1)
    assert whole[1:] == (None, {"hypervolume": FOUND.hypervolume, "front_size": 3}, 10)


@pytest.mark.parametrize("metric", ["accuracy", "training.own:quarter"])
def test_test_accuracy_is_the_metric_of_the_checkpoint_on_the_test_split(tmp_path, metric):
    plain = {**SHORT, "training": {**SHORT["training"], "metric": metric}}
    config = TrialConfig.from_dict(plain)
    data = data_of(config.data)
    trial = Trial(config, data, tmp_path)
    trial.run_epoch()
    tested = closing.test((plain, str(tmp_path), None), 0)
    value = tested.accuracy
    assert [(layer.weights, layer.live, layer.macs) for layer in tested.layers] == [
        (n, n, n) for n in (19200, 30000, 1000)
    ]
    expected = evaluate(trial.model, data, data.test())[1] if metric == "accuracy" else 0.25
    assert value == expected != evaluate(trial.model, data, data.validation)[1]
    assert tested.data == {
        "name": "digits",
        "root": "data",
        "fingerprint": data.fingerprint,
        "input_shape": [1, 8, 8],
        "classes": 10,
        "images": {"training": 300, "validation": 200, "test": len(data.test().labels)},
    }
    test = data.inputs(data.test().images)
    assert tested.refusal == "" and torch.equal(load(tmp_path)(test), trial.model.eval()(test))
    url = f"{tmp_path}/store/s/trials/0"
    claim(f"{tmp_path}/store/s", new=True)
    push(tmp_path, url)
    assert closing.test((plain, "/nowhere", url), 0).accuracy == expected
    assert (tmp_path / "store/s/trials/0/model.safetensors").read_bytes() == (
        tmp_path / "model.safetensors"
    ).read_bytes()


def test_a_network_that_cannot_be_written_as_data_is_tested_all_the_same(tmp_path, monkeypatch):
    config = TrialConfig.from_dict(SHORT)
    Trial(config, data_of(config.data), tmp_path).run_epoch()
    monkeypatch.setattr(load_safetensors, "LAYERS", ())
    tested = closing.test((SHORT, str(tmp_path), None), 0)
    assert tested.accuracy > 0 and "Flatten" in tested.refusal and not (tmp_path / "model.safetensors").exists()


def test_what_is_kept_of_the_front_waits_for_room_on_the_disk(tmp_path, monkeypatch):
    config = TrialConfig.from_dict(SHORT)
    Trial(config, data_of(config.data), tmp_path).run_epoch()
    full, write = [1, 2], formats.write_network

    def write_network(*arguments):
        if full:
            full.pop()
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(formats, "write_network", write_network)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    tested = closing.test((SHORT, str(tmp_path), None), 0)
    assert not full and tested.refusal == "" and (tmp_path / "model.safetensors").exists()
    closing.keep(tmp_path, tested)
    assert json.loads((tmp_path / "data.json").read_text()) == tested.data and (tmp_path / "layers.json").exists()
