"""CUDA graphs: where they are taken, and, on a machine with a GPU, that they change no number."""

import pytest
import torch
from torch import nn

from prune_search.pruning.presets import PRESETS
from prune_search.pruning.pruner import Pruner
from prune_search.pruning.recipe import resolve
from prune_search.spec.config import TrialConfig
from prune_search.spec.strict import ConfigError
from prune_search.training.data import cached_data
from prune_search.training.optim import set_learning_rate
from prune_search.training.trial import Trial

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def config(model="lenet-300-100", **training) -> TrialConfig:
    return TrialConfig.from_dict(
        {
            "data": {"name": "digits", "train_size": 320, "validation_size": 100},
            "model": {"name": model},
            "training": {"epochs": 4, "batch_size": 32, "schedule": "cosine", **training},
            "recipe": {"preset": "dyprune"},
        }
    )


def losses(folder, device, cut=None, **training):
    chosen = config(precision="fp32", **training)
    data = cached_data(chosen.data, device)
    trial = Trial(chosen, data, folder, device=device)
    while not trial.finished:
        if trial.epoch == cut:
            trial, cut = Trial(chosen, data, folder, device=device), None
            continue
        trial.run_epoch()
    return [report.train_loss for report in trial.reports]


def test_a_recipe_that_counts_its_steps_in_python_is_not_replayed():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    inputs, labels = torch.randn(10, 4), torch.randint(2, (10,))

    def replayable(preset):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        given = {
            "loss": nn.functional.cross_entropy,
            "batches": lambda n: [(inputs, labels)] * n,
            "example_input": inputs,
        }
        evaluate = lambda model: (1.0, 0.5)
        return Pruner(model, resolve(preset), optimizer=optimizer, epochs=10, evaluate=evaluate, **given).replayable

    assert [preset for preset in PRESETS if not replayable(preset)] == ["serene"]


def test_a_rate_that_is_a_tensor_is_set_in_place():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    rate = optimizer.param_groups[0]["lr"] = torch.tensor(0.1)
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] is rate and float(rate) == 0.25


def test_cuda_graphs_are_true_false_or_auto():
    with pytest.raises(ConfigError, match="cuda_graphs"):
        config(cuda_graphs="sometimes")


def test_the_state_of_what_works_beside_the_step_goes_where_the_model_is():
    model, inputs = nn.Sequential(nn.Linear(4, 3, device="meta")), torch.zeros(2, 4, device="meta")
    options = {"epochs": 10, "batches": lambda n: [(inputs, torch.zeros(2, dtype=torch.int64))] * n}
    pruner = Pruner(model, resolve("neq"), optimizer=torch.optim.SGD(model.parameters(), 0.1), **options)
    state = pruner.state_dict()
    state["states"]["backward"] = {"velocity": {"0.weight": torch.ones(3)}, "shares": {"0.weight": 0.5}}
    pruner.load_state_dict(state)
    assert pruner.states["backward"]["velocity"]["0.weight"].is_meta
    assert pruner.states["backward"]["shares"] == {"0.weight": 0.5}


@gpu
def test_a_replayed_trial_is_the_trial_step_by_step(tmp_path):
    assert losses(tmp_path / "a", "cuda", cuda_graphs=True) == losses(tmp_path / "b", "cuda", cuda_graphs=False)


@gpu
def test_a_replayed_trial_resumes_as_itself(tmp_path):
    assert losses(tmp_path / "a", "cuda") == losses(tmp_path / "b", "cuda", cut=2)


@gpu
def test_a_step_that_cannot_be_captured_is_taken_as_it_is(tmp_path):
    model = "training.own:waiting"
    tried = losses(tmp_path / "a", "cuda", model=model, cuda_graphs=True)
    assert tried == losses(tmp_path / "b", "cuda", model=model, cuda_graphs=False)
