"""Tiny networks and contexts for the tests of this room."""

import torch
from torch import nn

from prune_search.pruning.pruner import Pruner
from prune_search.pruning.recipe import resolve


def lenet300():
    """784-300-100-10; all weights on one scale, so that no layer collapses under a global ranking."""
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)]
    model = nn.Sequential(*layers)
    for layer in (model[1], model[3], model[5]):
        nn.init.normal_(layer.weight, std=0.05)
    return model


def pruner(model, recipe, epochs=30, optimizer=None, **options):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    return Pruner(model, resolve(recipe), optimizer=optimizer, epochs=epochs, **options)


def linear_of(values):
    """A Linear without bias whose weight has these values, one row."""
    layer = nn.Linear(len(values), 1, bias=False)
    layer.weight.data = torch.tensor([values], dtype=torch.float32)
    return layer


def single(values, **recipe):
    """A pruner on one Linear with these weights; an event every epoch unless told otherwise."""
    model = nn.Sequential(linear_of(values))
    base = {"preset": "magnitude", "dense_epochs": 1, "final_epochs": 1, "removal": "never"}
    return model, pruner(model, {**base, **recipe})
