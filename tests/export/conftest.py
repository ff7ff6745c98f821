from __future__ import annotations

import pytest
import torch
from torch import nn

from .networks import ShortcutNet, settled


@pytest.fixture
def conv_net() -> nn.Module:
    torch.manual_seed(0)
    return settled(ShortcutNet(), (1, 8, 8))


@pytest.fixture
def mlp() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))
    return settled(layers, (1, 8, 8))
