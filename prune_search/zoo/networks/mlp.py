"""Fully connected networks: lenet-300-100 (LeCun et al. 1998) and mlp-1000."""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import pairwise

from torch import nn


def mlp(input_shape: tuple[int, ...], num_classes: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """flatten, fc1, relu1, fc2, relu2, ...; the last fc has ``num_classes``. PyTorch's initialisation."""
    widths = (math.prod(input_shape), *hidden, num_classes)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for index, (before, after) in enumerate(pairwise(widths), start=1):
        layers[f"fc{index}"] = nn.Linear(before, after)
        if index <= len(hidden):
            layers[f"relu{index}"] = nn.ReLU()
    return nn.Sequential(layers)
