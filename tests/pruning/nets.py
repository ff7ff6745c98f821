"""Tiny networks and contexts for the tests of this room."""

import torch
from torch import nn

from prune_search.pruning.pruner import Pruner
from prune_search.pruning.recipe import resolve


def small_net():
    """8-16-12-4."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))


def conv_net():
    """Two convolutions, one of them grouped, with batch norm."""
    torch.manual_seed(1)
    head = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4, padding=1)]
    return nn.Sequential(*head, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def grouped_net():
    """Depthwise and pointwise convolutions."""
    torch.manual_seed(1)
    head = [nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU()]
    return nn.Sequential(*head, nn.Conv2d(6, 8, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4))


class Residual(nn.Module):
    """A residual block with a convolution that is called twice, and a shortcut convolution."""

    input_shape = (3, 6, 6)

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 1)
        self.shared = nn.Conv2d(6, 6, 3, padding=1)
        self.shortcut = nn.Conv2d(3, 6, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        inner = self.second(torch.relu(self.norm(self.first(x))))
        inner = self.shared(torch.relu(self.shared(inner)))
        return self.head(torch.relu(inner + self.shortcut(x)).mean((2, 3)))


small_net.input_shape = (8,)
conv_net.input_shape = grouped_net.input_shape = (3, 6, 6)


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
