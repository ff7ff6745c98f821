"""One trial: its clock, its figures, its ends, and going on from any checkpoint as if nothing had happened."""

import errno
import json
import resource
import shutil

import pytest
import torch
from safetensors import safe_open

from prune_search.cost import cost_of
from prune_search.removal import remove
from prune_search.spec.config import TrialConfig
from prune_search.training import checkpoint
from prune_search.training.data import data_of
from prune_search.training.evaluation import evaluate
from prune_search.training.files import CHECKPOINT, patiently, read_reports
from prune_search.training.optim import factor
from prune_search.training.outcomes import NonFiniteLoss, reason_of
from prune_search.training.trial import Trial
from prune_search.zoo.data import Data

PLAIN = {
    "data": {"name": "digits", "train_size": 300, "validation_size": 200},
    "model": "lenet-300-100",
    "training": {"epochs": 8, "batch_size": 50, "optimizer": {"name": "sgd", "lr": 0.1}},
    "recipe": {"preset": "dyprune", "stopping": {"every": {"epochs": 2}}},
    "seed": 3,
}
TIMING = ("seconds", "device_seconds")


def config(**changes):
    plain = json.loads(json.dumps(PLAIN))
    for key, value in changes.items():
        section, _, name = key.partition("__")
        plain[section] = {**plain[section], name: value} if name else value
    return TrialConfig.from_dict(plain)


@pytest.fixture(scope="module")
def data():
    return data_of(config().data)


def finish(trial, cut=()):
    """Run to the end; what a kill after an epoch of ``cut`` would leave is copied to ``cut-EPOCH`` beside the folder."""
    while not trial.finished:
        epoch = trial.run_epoch().epoch
        if epoch in cut:
            shutil.copytree(trial.folder, trial.folder.with_name(f"cut-{epoch}"))
    return trial


def figures(trial):
    return [{k: v for k, v in report.metrics().items() if k not in TIMING} for report in trial.reports]


OPTIMIZERS = [{"name": "sgd", "lr": 0.1, "nesterov": True, "weight_decay": 1e-3}, {"name": "adamw", "lr": 3e-3}]
RECIPES = [
    PLAIN["recipe"],
    {"preset": "random", "schedule": {"cubic": {"final_sparsity": 0.9}}},
    {"preset": "magnitude", "distribution": "erk", "stopping": "plateau", "recalibrate_batchnorm": 2},
    {"preset": "dyprune-authors", "stopping": "every", "rewind": {"none": {"optimizer": "fresh", "biases": "redrawn"}}},
    {"preset": "snip", "at_start": {"iterations": 3}},
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o["name"])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r["preset"])
def test_a_resumed_trial_is_the_same_trial(tmp_path, data, recipe, optimizer):
    chosen = config(recipe=recipe, training__optimizer=optimizer)
    whole = finish(Trial(chosen, data, tmp_path / "whole"), cut=(1, 4, 7))
    for stop in (1, 4, 7):
        torch.rand(5)  # another use of the global generator in between
        second = Trial(chosen, data, tmp_path / f"cut-{stop}")
        assert len(second.reports) == stop
        finish(second)
        assert figures(second) == figures(whole)
        state, expected = second.model.state_dict(), whole.model.state_dict()
        assert all(torch.equal(state[name], expected[name]) for name in expected)
        assert second.reason == whole.reason
    assert [r.epoch for r in read_reports(tmp_path / "whole")] == list(range(1, len(whole.reports) + 1))


def test_the_last_report_the_checkpoint_and_the_exported_network_are_one(tmp_path, data):
    trial = finish(Trial(config(), data, tmp_path / "t"))
    report = trial.reports[-1]
    again = Trial(config(), data, tmp_path / "t")
    assert again.finished and figures(again) == figures(trial)
    network = again.removed()
    loss, accuracy = evaluate(network, data, data.validation)
    assert (accuracy, loss) == (report.accuracy, pytest.approx(report.loss, rel=1e-5))
    cost = cost_of(network, trial.example)
    assert (cost.params, cost.macs, cost.physical_params) == (report.params, report.macs, report.physical_params)
    assert report.params_reduction == 50_610 / report.params
    assert report.flops_reduction == 50_200 / report.macs
    assert report.sparsity == pytest.approx(1 - cost.live / 50_200)
    assert report.physical_params < 50_610


def test_an_event_shows_in_the_next_report(data):
    trial = finish(Trial(config(), data, None))
    events = trial.pruner.history.events
    assert [r.events for r in trial.reports] == [sum(e < r.epoch for e in events) for r in trial.reports]
    lives = [50_200, *trial.pruner.history.live_after_masking]
    assert [r.live_after_masking for r in trial.reports] == [lives[r.events] for r in trial.reports]
    assert trial.reports[-1].epoch == 8 and events == [2, 4, 6]


def test_a_network_pruned_at_the_start_trains_to_the_cap(data):
    trial = finish(Trial(config(recipe="synflow"), data, None))
    assert [r.live_after_masking for r in trial.reports] == [5_020] * 8
    assert (trial.reports[-1].events, trial.reason) == (0, "no further event")
    assert trial.reports[-1].train_flops == 100 * 6 * 50_200 + 8 * 6 * 300 * 5_020


def test_training_flops_are_those_of_the_live_weights(data):
    trial = finish(Trial(config(recipe={**PLAIN["recipe"], "removal": "at-end"}), data, None))
    lives = [50_200, *trial.pruner.history.live_after_masking]
    macs = [lives[sum(e < epoch for e in trial.pruner.history.events)] for epoch in range(1, 9)]
    assert trial.reports[-1].train_flops == sum(6 * 300 * m for m in macs)
    assert trial.reports[-1].train_flops_ratio == pytest.approx(sum(macs) / (8 * 50_200))
    dense = finish(Trial(config(recipe="dense"), data, None))
    assert dense.reports[-1].train_flops_ratio == 1.0
    assert dense.reason == "no_event"
    assert dense.reports[-1].params == 50_610


def test_dyprune_live_counts_on_lenet_300_100_with_real_training():
    """The counts of the specification, in a real trial: the network has 784 inputs, so digits are enlarged."""
    plain = {**PLAIN, "data": {"name": "training.enlarged:digits", "train_size": 200, "validation_size": 100}}
    recipe = {"preset": "dyprune", "stopping": {"every": {"epochs": 3}}, "removal": "at-end", "final_epochs": 1}
    plain = {
        **plain,
        "recipe": {**recipe, "round": {"max_epochs": None}},
        "training": {**PLAIN["training"], "epochs": 16},
    }
    chosen = TrialConfig.from_dict(plain)
    trial = finish(Trial(chosen, data_of(chosen.data), None))
    assert trial.pruner.history.live_after_masking == [93_383, 42_541, 22_724, 13_564, 8_796]


def test_a_diverging_trial_has_a_name(data):
    trial = Trial(config(training__optimizer={"name": "sgd", "lr": 1e30}), data, None)
    with pytest.raises(NonFiniteLoss) as error:
        finish(trial)
    assert reason_of(error.value).startswith("nan_loss: ")


def test_nothing_reads_the_test_split(tmp_path, data, monkeypatch):
    def never(self):
        raise AssertionError("the test split was read")

    monkeypatch.setattr(Data, "test", never)
    finish(Trial(config(), data, tmp_path / "t"))


def test_a_trial_goes_on_to_the_cap_unless_that_cuts_no_learning_rate_off(data):
    recipe = {"preset": "magnitude", "schedule": {"per-round": {"rate": 0.5}}, "stopping": "every", "dense_epochs": 1}
    recipe |= {"max_events": 1, "final_epochs": 2}
    assert len(finish(Trial(config(recipe=recipe, training__schedule="cosine"), data, None)).reports) == 8
    ended = finish(Trial(config(recipe=recipe, training__schedule="constant"), data, None))
    assert len(ended.reports) == 3 and ended.reason == "most events reached"


def rates(trial):
    seen, step = [], trial.optimizer.step

    def spy(*arguments):
        seen.append(trial.optimizer.param_groups[0]["lr"])
        return step(*arguments)

    trial.optimizer.step = spy
    finish(trial)
    return seen


def test_learning_rates_over_the_trial_and_over_each_round(data):
    steps = 6
    over_trial = rates(Trial(config(training__schedule="cosine"), data, None))
    assert len(over_trial) == 8 * steps
    assert over_trial[0] == 0.1
    assert over_trial[4 * steps] == pytest.approx(0.05)
    over_round = rates(Trial(config(training__schedule={"name": "cosine", "horizon": "round"}), data, None))
    starts = [epoch * steps for epoch in (0, 2, 4, 6)]
    assert [over_round[start] for start in starts] == [0.1] * 4
    assert over_round[steps] == pytest.approx(0.05)
    warm = rates(Trial(config(training__schedule={"name": "constant", "warmup": 2}), data, None))
    assert warm[: 2 * steps] == sorted(warm[: 2 * steps]) and 0 < warm[0] < 0.02
    assert set(warm[2 * steps :]) == {0.1}


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ("constant", {0.0: 1.0, 1.0: 1.0}),
        ("cosine", {0.0: 1.0, 0.5: 0.5, 1.0: 0.0}),
        ("onecycle", {0.0: 0.04, 0.3: 1.0, 1.0: 1 / 250_000}),
        ({"name": "step", "milestones": [0.5, 0.75], "gamma": 0.1}, {0.49: 1.0, 0.5: 0.1, 0.75: 0.01}),
    ],
)
def test_learning_rate_factors(schedule, values):
    chosen = config(training__schedule=schedule).training.schedule
    for progress, value in values.items():
        assert factor(chosen, progress) == pytest.approx(value)


def test_clipping_counts_live_weights_only(data):
    trial = Trial(config(training__clip_norm=1e-6, recipe={**PLAIN["recipe"], "removal": "never"}), data, None)
    for _ in range(3):
        trial.run_epoch()
    trial.step(*trial.sample_batches(1)[0])
    weights = dict(trial.model.named_parameters())
    assert all((weights[name].grad[~mask] == 0).all() for name, mask in trial.pruner.masks.items())
    norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in weights.values()]))
    assert float(norm) == pytest.approx(1e-6, rel=1e-2)


def test_label_smoothing_and_bf16_train(data):
    trial = Trial(config(training__label_smoothing=0.1, training__precision="bf16", training__epochs=2), data, None)
    finish(trial)
    assert trial.reports[-1].train_loss > 0.5 * 0.1 * 2.3


def test_measured_metrics_are_there_when_asked_for(data):
    trial = Trial(config(training__epochs=1), data, None, measure=("latency_ms", "size_bytes", "peak_memory_bytes"))
    report = trial.run_epoch()
    assert report.latency_ms > 0
    assert report.size_bytes > 4 * 50_610
    assert report.peak_memory_bytes > 4 * 50_610
    assert Trial(config(training__epochs=1), data, None).run_epoch().latency_ms is None


def test_a_checkpoint_is_one_file_without_pickle(tmp_path, data):
    trial = Trial(config(), data, tmp_path / "t")
    trial.run_epoch()
    with safe_open(tmp_path / "t" / CHECKPOINT, framework="pt") as file:
        json.loads(file.metadata()["state"])
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == [CHECKPOINT, "reports.jsonl"]
    network = remove(trial.model, trial.example)
    assert cost_of(network, trial.example).params == 50_610


def test_checkpoints_keep_nested_values(tmp_path):
    state = {"a": [1, {"b": torch.arange(3)}], "c": {0: torch.ones(2, dtype=torch.bool)}, "d": None, "e": "x", "f": 1.5}
    checkpoint.save(tmp_path / "c", state)
    back = checkpoint.load(tmp_path / "c")
    assert torch.equal(back["a"][1]["b"], torch.arange(3)) and torch.equal(
        back["c"][0], torch.ones(2, dtype=torch.bool)
    )
    assert (back["a"][0], back["d"], back["e"], back["f"]) == (1, None, "x", 1.5)


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path):
    checkpoint.save(tmp_path / "c", {"a": torch.ones(2)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError) as caught:
            checkpoint.save(tmp_path / "c", {"a": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert checkpoint.load(tmp_path / "c")["a"].tolist() == [1, 1]


def test_a_full_storage_is_waited_for_and_one_that_refuses_is_not():
    tries = []

    def write(fails, code):
        tries.append(code)
        if len(tries) <= fails:
            raise OSError(code, "no")

    patiently(lambda: write(2, errno.ENOSPC), pause=0.0)
    assert len(tries) == 3
    for code, patience in ((errno.ENOSPC, 0.0), (errno.EACCES, 900.0)):
        tries.clear()
        with pytest.raises(OSError):
            patiently(lambda: write(9, code), patience, pause=0.0)
        assert len(tries) == 1
