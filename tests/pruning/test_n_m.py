"""N:M patterns."""

import pytest
import torch
from pruning.nets import conv_net, pruner, small_net
from torch import nn

from prune_search.pruning.recipe import RecipeError, resolve

PLAIN = {"preset": "magnitude", "schedule": "fixed", "distribution": "uniform", "dense_epochs": 1, "removal": "never"}


def pruned(model, n=2, m=4, epochs=3, **more):
    engine = pruner(model, {**PLAIN, "granularity": {"n-m": {"n": n, "m": m}}, **more}, epochs)
    outcomes = [engine.epoch_end(loss=1.0, accuracy=0.5) for _ in range(epochs)]
    return engine, outcomes


def test_the_two_largest_of_four_neighbours_stay():
    model = nn.Sequential(nn.Linear(10, 1, bias=False))
    model[0].weight.data = torch.tensor([[1.0, -4, 3, 2, 0.1, 0.2, -0.4, 0.3, 5, 6]])
    engine, outcomes = pruned(model)
    assert engine.masks["0.weight"].long().tolist() == [[0, 1, 1, 0, 0, 0, 1, 1, 1, 1]]
    assert [outcome.event for outcome in outcomes] == [True, False, False]
    assert engine.exhausted == "the pattern is there" and engine.history.live_after_masking == [6]


@pytest.mark.parametrize(("n", "m"), [(1, 4), (2, 4), (4, 8)])
def test_exact_counts_along_the_inputs_of_a_convolution_whatever_the_ties(n, m):
    model = nn.Sequential(nn.Conv2d(16, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1))
    nn.init.ones_(model[0].weight)
    engine, _ = pruned(model, n, m)
    groups = engine.masks["0.weight"].movedim(1, -1).unflatten(-1, (-1, m)).sum(-1)
    assert (groups == n).all()
    assert engine.masks["1.weight"].all()
    assert engine.live == (16 * 8 * 9 + 8 * 6) * n // m + 8 * 9


@pytest.mark.parametrize("net", [small_net, conv_net])
def test_any_score_and_the_rest_of_a_recipe(net):
    engine, _ = pruned(net(), score="random", target_sparsity=0.1, rewind="weights", regularizer="l1")
    for name, mask in engine.masks.items():
        assert mask.float().mean() == (1.0 if mask.shape[1] <= 2 else 0.5 if mask.shape[1] % 4 == 0 else 2 / 3), name


def test_amounts_are_its_own():
    with pytest.raises(RecipeError, match="fixed"):
        resolve({"preset": "magnitude", "granularity": "n-m", "distribution": "uniform"})
    with pytest.raises(RecipeError, match="n-m"):
        resolve({"preset": "magnitude", "schedule": "fixed"})
