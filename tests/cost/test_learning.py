import pytest
import torch
from torch import nn

from prune_search.cost import step_flops, weight_gradient_flops
from prune_search.zoo.models import build_model


def test_resnet_32_as_neq_counts_it():
    model, x = build_model("resnet-32", input_shape=(3, 32, 32), num_classes=10, seed=0), torch.zeros(2, 3, 32, 32)
    assert weight_gradient_flops(model, x) == 138_937_600
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    watched = {f"{name}.weight": 1.0 for name, module in model.named_modules() if isinstance(module, kinds)}
    assert weight_gradient_flops(model, x, watched) == 2 * 640
    assert sum(len(m.weight) for m in model.modules() if isinstance(m, (*kinds, nn.Linear))) == 2_282


def test_frozen_rows_cost_nothing():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, groups=1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 2))
    x = torch.zeros(1, 3, 4, 4)
    conv, norm, head = 2 * 8 * 27 * 4, 4 * 32, 2 * 64
    assert weight_gradient_flops(model, x) == conv + norm + head
    assert weight_gradient_flops(model, x, {"0.weight": 0.25, "1.weight": 1.0}) == 0.75 * conv + head
    assert model.training


def test_a_step_without_some_weight_gradients():
    assert step_flops(10, 4, 5) == 240 - 40
    assert step_flops(10, 4, 10) == pytest.approx(160)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(self.layer(x))


def test_sequences_other_dimensions_and_calls_that_add_up():
    assert weight_gradient_flops(nn.Linear(6, 3), torch.zeros(2, 5, 6)) == 2 * 18 * 5
    assert weight_gradient_flops(nn.Conv1d(2, 3, 3), torch.zeros(1, 2, 10)) == 2 * 18 * 8
    assert weight_gradient_flops(Twice(), torch.zeros(1, 4)) == 2 * 16 * 2
