"""Odd networks and data: what is allowed trains under recipes of every kind, what is not ends with a name."""

import math

import pytest
import torch
from training import odd  # noqa: F401  (found by the import paths below)

from prune_search.errors import UserError
from prune_search.removal import remove
from prune_search.spec.config import TrialConfig
from prune_search.training.data import data_of
from prune_search.training.outcomes import reason_of
from prune_search.training.trial import Trial

RECIPES = [
    "dyprune",
    "activation-density",
    "lobster",
    "rigl",
    "infcop-gf",
    {"preset": "snip", "floor": 0.05},
    "serene",
    {"preset": "magnitude", "granularity": "channel", "removal": "at-events", "backward": "neq"},
]
CHANNELS = (RECIPES[1], RECIPES[-1])
KINDS = ["Frozen", "Tied", "SparseGradient", "Complex", "Whole", "Scalar", "Unused", "Twice", "Norm", "Lazy"]
DATA = ["one-label", "one-class", "one-class-validation", "rest-of-one", "still", "same"]


def trial(kind="Odd", data="plain", recipe="dense", optimizer="sgd", **training):
    plain = {
        "data": {"name": "training.odd:data", "kind": data},
        "model": {"name": "training.odd:build", "kind": kind},
        "training": {"epochs": 4, "batch_size": 50, "optimizer": {"name": optimizer, "lr": 0.01}, **training},
        "recipe": recipe,
    }
    config = TrialConfig.from_dict(plain)
    return Trial(config, data_of(config.data), None)


def finish(made):
    while not made.finished:
        made.run_epoch()
    return made


def ended(*args, **kwargs):
    """Why a trial fails."""
    with pytest.raises(Exception) as error:
        finish(trial(*args, **kwargs))
    return reason_of(error.value)


WHOLE = (
    "Tied",
    "SparseGradient",
    "Complex",
    "Whole",
    "Twice",
)  # their channels go where nothing is known to keep them apart


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_an_odd_network_is_trained_pruned_and_removed(kind, recipe):
    if kind in WHOLE and recipe in CHANNELS:
        assert ended(kind, recipe=recipe).startswith(
            "bad_input: recipe: granularity 'channel': the network has no channel"
        )
        return
    made = finish(trial(kind, recipe=recipe))
    last = made.reports[-1]
    assert math.isfinite(last.loss) and last.epoch == 4
    small = remove(made.model, made.example)
    with torch.no_grad():
        expected, actual = made.model.eval()(made.example), small.eval()(made.example)
    assert torch.allclose(expected, actual, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("data", DATA)
def test_odd_data_is_trained_on(data, recipe):
    last = finish(trial("Norm", data, recipe)).reports[-1]
    assert math.isfinite(last.loss) and 0 <= last.accuracy <= 1 and last.epoch == 4


def test_frozen_weights_do_not_move():
    made = trial("Frozen", recipe="magnitude")
    before = made.model.first.weight.clone()
    finish(made)
    after = made.model.first.weight
    assert torch.equal(after[after != 0], before[after != 0])
    assert not torch.equal(made.model.last.weight, trial("Frozen").model.last.weight)


def test_tied_weights_stay_tied():
    half = {"preset": "magnitude", "schedule": {"one-shot": {"final_sparsity": 0.5}}}
    model = finish(trial("Tied", recipe=half)).model
    assert model.there.weight is model.back.weight and (model.there.weight == 0).any()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("Pair", "bad_input: The model gives a tuple"),
        ("Dictionary", "bad_input: The model gives a dict"),
        ("PairInTraining", "bad_input: The model gives a tuple in training"),
        ("BrokenWeight", "nan_loss"),
        ("BrokenStatistics", "nan_loss"),
        ("Steep", "nan_loss"),
        ("Half", "nan_loss"),
    ],
)
def test_what_cannot_be_trained_has_a_name(kind, reason):
    assert ended(kind).startswith(reason)


def test_images_are_normalised_whatever_their_scale():
    assert finish(trial(data="huge")).reports[-1].accuracy == finish(trial()).reports[-1].accuracy > 0.5


def test_an_empty_data_set_is_named():
    with pytest.raises(UserError, match="the same N above 0"):
        trial(data="empty")


def test_a_batch_of_one_at_the_end_is_left_out_and_nothing_else():
    made = trial("Norm", "rest-of-one")
    seen = []
    made.model.first.register_forward_pre_hook(lambda module, args: seen.append((module.training, len(args[0]))))
    made.run_epoch()
    assert [size for training, size in seen if training] == [50] * 5


def test_sparse_gradients_that_an_optimizer_does_not_take_are_named():
    assert "sparse" in ended("SparseGradient", optimizer="adamw")


def test_a_layer_pruned_to_nothing_has_a_name():
    recipe = {"preset": "magnitude", "schedule": {"one-shot": {"final_sparsity": 0.9999}}, "floor": 0}
    assert ended(recipe=recipe).startswith("collapsed_layer: ")
