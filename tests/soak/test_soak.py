"""The short form of ``python -m tests.soak``: random networks under random recipes, in this process, without faults."""

import random

import pytest
import torch

from prune_search.errors import UserError
from prune_search.pruning.masking import CollapsedLayer
from prune_search.pruning.ranking import NonFiniteScore
from prune_search.removal import remove
from prune_search.spec.config import TrialConfig
from prune_search.training.data import data_of
from prune_search.training.outcomes import NonFiniteLoss
from prune_search.training.trial import Trial
from soak import health, spaces
from soak.networks import build


@pytest.fixture(scope="module")
def data():
    return data_of(TrialConfig.from_dict({"model": "x", "training": {"epochs": 1}, "recipe": "dense",
                                          "data": {"name": "digits", "train_size": 251, "validation_size": 64}}).data)  # fmt: skip


def trial(seed, data):
    """A trial of the first recipe that the loader takes."""
    draw = random.Random(seed)
    while True:
        space = spaces.space(draw)
        (preset, changed), *_ = space["recipe"]["choices"].items()
        optimizer = {**space["training"]["optimizer"], "lr": 0.02}
        training = {**space["training"], "epochs": 3, "optimizer": optimizer}
        model = {"name": "soak.networks:build", "options": {"seed": seed}}
        try:
            plain = {"model": model, "training": training, "recipe": {"preset": preset, **changed}, "seed": seed}
            return Trial(TrialConfig.from_dict(plain), data, None)
        except UserError:
            continue


@pytest.mark.parametrize("seed", range(24))
def test_a_random_network_is_trained_pruned_and_removed_or_ends_with_a_name(seed, data):
    made = trial(seed, data)
    try:
        while not made.finished:
            made.run_epoch()
    except (CollapsedLayer, NonFiniteScore, NonFiniteLoss):
        return
    small = remove(made.model, made.example)
    with torch.no_grad():
        expected, actual = made.model.eval()(made.example), small.eval()(made.example)
    assert torch.allclose(expected, actual, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_a_seed_is_a_network():
    first, again, other = (build(seed, (1, 8, 8), 10).state_dict() for seed in (3, 3, 4))
    assert [(name, value.shape) for name, value in first.items()] == [
        (name, value.shape) for name, value in again.items()
    ]
    assert first.keys() != other.keys() or any(first[name].shape != other[name].shape for name in first)


def test_what_a_process_holds_is_seen(tmp_path):
    before = health.held()
    opened = [open(tmp_path / str(number), "w") for number in range(5)]
    assert health.held()["handles"] == before["handles"] + 5 and before["memory_mb"] > 10 and before["threads"] >= 1
    for file in opened:
        file.close()
