"""Channels last in memory: through events that shrink the network, and from a checkpoint on."""

import pytest
import torch

from prune_search.pruning.presets import PRESETS
from prune_search.spec.config import TrialConfig
from prune_search.training.data import data_of
from prune_search.training.trial import Trial

SHRINKING = {
    "preset": "magnitude",
    "granularity": "channel",
    "schedule": {"cubic": {"final_sparsity": 0.6}},
    "removal": "at-events",
}


def config(recipe, **training) -> TrialConfig:
    return TrialConfig.from_dict(
        {
            "data": {"name": "digits", "train_size": 300, "validation_size": 100},
            "model": "training.own:residual",
            "training": {"epochs": 6, "batch_size": 50, "optimizer": {"name": "sgd", "lr": 0.05}, **training},
            "recipe": recipe,
        }
    )


@pytest.fixture(scope="module")
def data():
    return data_of(config("dense").data)


def trained(chosen, data, folder, cut=None) -> Trial:
    trial = Trial(chosen, data, folder)
    while not trial.finished:
        if trial.epoch == cut:
            trial, cut = Trial(chosen, data, folder), None
            continue
        trial.run_epoch()
    return trial


def lies_last(trial: Trial) -> list[bool]:
    """Of each convolution's weight and what the optimizer keeps of it, where the two layouts differ."""
    kept = [p for p in trial.model.parameters() if p.dim() == 4 and p.shape[1] > 1]
    kept += [v for p in kept for v in trial.optimizer.state[p].values() if torch.is_tensor(v) and v.shape == p.shape]
    return [value.is_contiguous(memory_format=torch.channels_last) for value in kept]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weights_and_optimizer_state_stay_channels_last_while_the_network_shrinks(tmp_path, data, name):
    optimizer = {"name": name, "lr": 0.01}
    trial = trained(config(SHRINKING, channels_last=True, optimizer=optimizer), data, tmp_path, cut=4)
    assert trial.reports[-1].physical_params < 0.6 * trial.reports[0].physical_params
    layouts = lies_last(trial)
    assert len(layouts) == (4 if name == "sgd" else 6) and all(layouts)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_layout_changes_no_decision_and_a_resumed_trial_is_itself(tmp_path, data, preset):
    recipe = SHRINKING if preset == "magnitude" else {"preset": preset}
    before = trained(config(recipe), data, tmp_path / "before")
    after = trained(config(recipe, channels_last=True), data, tmp_path / "after")
    again = trained(config(recipe, channels_last=True), data, tmp_path / "again", cut=3)
    assert [r.loss for r in after.reports] == [r.loss for r in again.reports]
    assert after.reports[0].loss == pytest.approx(before.reports[0].loss, rel=1e-4)
    assert after.reports[0].params == before.reports[0].params
    assert all(lies_last(after)) and not any(lies_last(before))


def test_a_cpu_is_left_as_it_is_unless_asked(tmp_path, data):
    assert not any(lies_last(trained(config("dense"), data, None)))
