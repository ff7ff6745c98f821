"""Counts by hand on tiny networks."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from prune_search.cost import cost_of, count, prunable_layers, trace_positions


def test_conv_and_linear_by_hand():
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6 * 25, 10)
    )
    cost = cost_of(model, torch.randn(3, 4, 5, 5))
    conv, linear = cost.layers
    assert (conv.kind, conv.shape, conv.physical_macs) == ("Conv2d", (6, 2, 3, 3), 108 * 25)
    assert (linear.name, linear.physical_macs) == ("3", 1500)
    assert cost.physical_params == 108 + 6 + 12 + 1500 + 10
    assert cost.params == cost.physical_params - 6  # the norm's zero beta
    assert (cost.macs, cost.flops, cost.prunable) == (4200, 8400, 1608)


def test_zeros_count_only_physically():
    model = nn.Linear(4, 3)
    dense = cost_of(model, torch.randn(1, 4))
    nn.init.constant_(model.bias, 1.0)
    with torch.no_grad():
        model.weight[0] = 0
    cost = cost_of(model, torch.randn(1, 4), dense=dense)
    assert (cost.live, cost.params, cost.macs) == (8, 11, 8)
    assert (cost.physical_params, cost.physical_macs) == (15, 12)
    assert cost.sparsity == pytest.approx(1 / 3)
    assert (cost.params_reduction, cost.flops_reduction) == (15 / 11, 1.5)


def test_dense_counts_fresh_zero_biases_as_non_zero():
    model = nn.Linear(4, 3)
    nn.init.zeros_(model.bias)
    assert cost_of(model, torch.randn(1, 4)).params_reduction == 15 / 12


def test_smaller_network_against_its_dense_one():
    dense = cost_of(nn.Linear(10, 10, bias=False), torch.randn(1, 10))
    cost = cost_of(nn.Linear(5, 10, bias=False), torch.randn(1, 5), dense=dense)
    assert (cost.sparsity, cost.params_reduction, cost.flops_reduction) == (0.5, 2.0, 2.0)


@pytest.mark.parametrize(
    "layer, shape, macs",
    [
        (nn.Conv1d(2, 3, 3), (2, 10), 18 * 8),
        (nn.Conv3d(1, 2, 2), (1, 3, 3, 3), 16 * 8),
        (nn.Conv2d(4, 4, 3, groups=4, stride=2), (4, 7, 7), 36 * 9),
        (nn.ConvTranspose2d(2, 3, 2, stride=2), (2, 5, 5), 24 * 25),
        (nn.Linear(8, 3), (6, 8), 24 * 6),
    ],
)
def test_positions(layer, shape, macs):
    for batch in (1, 4):
        counted = cost_of(layer, torch.randn(batch, *shape)).physical_macs
        assert counted == macs and type(counted) is int


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.unused = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(input=self.a(x)))


def test_calls_add_up_and_tied_weights_count_once():
    model = Twice()
    assert list(prunable_layers(model)) == ["a", "unused"]
    assert trace_positions(model, torch.randn(2, 4)) == {"a": 3, "unused": 0}
    cost = cost_of(model, torch.randn(2, 4))
    assert (cost.macs, cost.prunable, cost.physical_params) == (48, 32, 32 + 12)


def test_attention_projections_count():
    model = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    cost = cost_of(model, torch.randn(2, 5, 8))
    assert cost.physical_macs == 5 * (3 * 64 + 64 + 2 * 8 * 16)
    assert cost.prunable == 64 + 256


def test_leaves_no_trace():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(8, 2))
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [m.training for m in model.modules()]
    rng = torch.get_rng_state()
    trace_positions(model, torch.zeros(2, 1, 4, 4))
    assert torch.equal(rng, torch.get_rng_state())
    assert flags == [m.training for m in model.modules()]
    assert not any(m._forward_hooks for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_hooks_go_when_the_model_raises():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 1))
    with pytest.raises(RuntimeError):
        trace_positions(model, torch.randn(1, 4))
    assert model.training and not model[0]._forward_hooks


def test_count_needs_no_forward():
    model = nn.Linear(4, 3)
    positions = trace_positions(model, torch.randn(1, 4))
    model.forward = None
    assert count(model, positions).macs == 12


def test_metrics_without_torch():
    code = "import sys, prune_search.cost.metrics, prune_search.cost.training; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_weight_that_is_computed_is_not_prunable_and_looking_does_not_compute_it():
    model = nn.Sequential(spectral_norm(nn.Linear(4, 3)), nn.ReLU(), nn.Linear(3, 2))
    nn.init.normal_(model[0].parametrizations.weight.original)  # its norm is not known yet
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cost = cost_of(model, torch.zeros(1, 4))
    assert [layer.name for layer in cost.layers] == ["2"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
