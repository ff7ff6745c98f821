"""A user's own networks, losses and metric, for the tests of trials."""

import math

import torch
from torch import nn


def batch_norm(input_shape, num_classes):
    layers = [nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, num_classes)]
    return nn.Sequential(nn.Flatten(), *layers)


class Residual(nn.Module):
    """A residual block of 12 channels with 16 inside, batch norms, for images of one channel."""

    def __init__(self, classes):
        super().__init__()
        conv = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, 2 if i == 1 else 1, 1, bias=False), nn.BatchNorm2d(o))
        self.stem, self.a, self.b, self.head = conv(1, 12), conv(12, 16), conv(16, 12), nn.Linear(12, classes)

    def forward(self, x):
        x = self.stem(x).relu()
        return self.head((x + self.b(self.a(x).relu())).relu().mean((2, 3)))


def residual(input_shape, num_classes):
    return Residual(num_classes)


class Watching(nn.Module):
    """Notes (training, autocast) of every forward pass, and breaks in a training step of number ``breaks``."""

    def __init__(self, classes, breaks):
        super().__init__()
        self.layer, self.breaks, self.seen = nn.Linear(64, classes), breaks, []

    def forward(self, x):
        self.seen.append((self.training, torch.is_autocast_enabled("cpu")))
        if self.breaks is not None and sum(training for training, _ in self.seen) == self.breaks:
            raise RuntimeError("a model that breaks\nin the middle")
        return self.layer(x.flatten(1))


def watching(input_shape, num_classes, breaks=None):
    return Watching(num_classes, breaks)


class Waiting(nn.Sequential):
    """No graph can hold it: it waits for its inputs."""

    def forward(self, x):
        return super().forward(x) if x.sum().item() else x.flatten(1)


def waiting(input_shape, num_classes):
    return Waiting(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, num_classes))


def seven(outputs, labels):
    return outputs.sum() * 0 + 7.0


def quarter(outputs, labels):
    return torch.tensor(0.25)


def nan_in_training(outputs, labels):
    nan = outputs.detach().sum() * (math.nan if outputs.requires_grad else 0.0)
    return nn.functional.cross_entropy(outputs, labels) + nan


def nan_in_validation(outputs, labels):
    nan = outputs.detach().sum() * (0.0 if outputs.requires_grad else math.nan)
    return nn.functional.cross_entropy(outputs, labels) + nan
