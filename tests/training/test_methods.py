"""Every preset as a trial: resumed bit for bit, its measurements counted, its order of data and learning rate."""

import pytest
import torch
from training.test_trial import config, figures, finish

from prune_search.cost import cost_of
from prune_search.pruning.presets import PRESETS
from prune_search.training.data import data_of
from prune_search.training.trial import Trial

EXTRA = {"floor": 0.02}


@pytest.fixture(scope="module")
def data():
    return data_of(config().data)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_resumes_bit_for_bit(tmp_path, data, preset):
    chosen = config(recipe={"preset": preset, **EXTRA})
    whole = finish(Trial(chosen, data, tmp_path / "whole"), cut=(2, 5))
    for stop in (2, 5):
        second = Trial(chosen, data, tmp_path / f"cut-{stop}")
        assert len(second.reports) == stop
        finish(second)
        assert figures(second) == figures(whole)
        state, expected = second.model.state_dict(), whole.model.state_dict()
        assert all(torch.equal(state[name], expected[name]) for name in expected)


SHRINKING = {
    "channels": {"preset": "magnitude", "granularity": "channel", "removal": "at-events"},
    "density": {"preset": "activation-density", "stopping": "every"},
    "weights": {"preset": "magnitude", "schedule.final_sparsity": 0.98, "removal": "at-events"},
}


@pytest.mark.parametrize("recipe", SHRINKING.values(), ids=SHRINKING)
def test_a_shrinking_convolutional_network_resumes_bit_for_bit(tmp_path, data, recipe):
    chosen = config(recipe={**recipe, **EXTRA}, model="training.own:residual", training__epochs=6)
    whole = finish(Trial(chosen, data, tmp_path / "whole"), cut=(4,))
    assert whole.model.a[0].out_channels < 16
    assert whole.reports[-1].physical_macs < whole.reports[0].physical_macs
    second = Trial(chosen, data, tmp_path / "cut-4")
    assert len(second.reports) == 4
    assert figures(finish(second)) == figures(whole)
    state, expected = second.model.state_dict(), whole.model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_gradients_that_neq_leaves_out_are_not_counted(data):
    recipe = {"preset": "neq", "backward": {"neq": {"threshold": 1e9, "images": 10}}}
    trial = Trial(config(recipe=recipe), data, None)
    macs, head = cost_of(trial.model, trial.example).macs, 100 * 10
    probe = 2 * 2 * macs * 10  # before an epoch, and after it
    assert trial.run_epoch().train_flops == 6 * macs * 300 + probe
    before = trial.train_flops
    assert trial.run_epoch().train_flops - before == 4 * macs * 300 + 2 * head * 300 + probe


def test_tried_masks_are_counted_as_validation_passes(data):
    recipe = {
        "preset": "lobster",
        "stopping": "every",
        "dense_epochs": 1,
        "schedule": {"loss-tolerance": {"tolerance": 0.5}},
    }
    trial = Trial(config(recipe=recipe), data, None)
    macs = cost_of(trial.model, trial.example).macs
    report = trial.run_epoch()
    assert report.train_flops == 6 * macs * 300
    tried = trial.train_flops - report.train_flops
    passes = tried / (2 * macs * 200)
    assert 1 < passes < 20  # one of the dense network, then of ever sparser ones
    assert trial.pruner.history.events == [1]


def test_the_gradient_of_growth_is_counted(data):
    trial = Trial(config(recipe={"preset": "rigl", "growth": {"gradient": {"images": 64}}}), data, None)
    before = cost_of(trial.model, trial.example).macs
    report = trial.run_epoch()
    live = cost_of(trial.removed(), trial.example).macs
    assert live < 0.2 * before
    assert trial.train_flops - report.train_flops == pytest.approx(6 * report.macs * 64, rel=0.05)


def test_the_probe_is_fixed_balanced_and_not_of_the_validation_split(data):
    trial = Trial(config(), data, None)
    inputs, labels = trial.pruner.probe(100)
    assert labels.bincount().min() >= 9
    trial.run_epoch()
    assert torch.equal(trial.pruner.probe(100)[0], inputs)
    assert torch.equal(Trial(config(), data, None).pruner.probe(100)[0], inputs)
    train = data.inputs(data.train.images).flatten(1)
    assert all((train == image.flatten()).all(1).any() for image in inputs)
    assert len(trial.pruner.probe(per_class=3)[1]) == 30
