"""What one step of the graph does to channels: changes in place, padding of channels, a parameter read twice, two groups."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from prune_search.removal import RemovalError, explain, remove


class Steps(nn.Module):
    """A convolution, a step, a convolution; half of the first one's channels are constants, -0.5 and 0.5 by turns."""

    def __init__(self, step, width=8):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.step, self.second = nn.Conv2d(3, 8, 1), step, nn.Conv2d(width, 2, 1)
        self.scale = nn.Parameter(torch.rand(8, 1, 1) + 0.5)
        with torch.no_grad():
            self.first.weight[4:] = 0
            self.first.bias[4:] = torch.tensor([-0.5, 0.5, -0.5, 0.5])
        self.double()

    def forward(self, x):
        return self.second(self.step(self, self.first(x)))


def cut(model):
    """(why the first layer keeps channels, its width afterwards), of a network that still computes the same."""
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    small = remove(model, x)
    assert torch.allclose(small(x), model(x), rtol=1e-12)
    return dict(explain(model, x)).get("first"), small.first.out_channels


class Module(nn.Module):
    """A step that holds a module."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, model, y):
        return self.module(y) + y


def by_function(model, y):
    return F.relu(y, inplace=True) + y


def by_method(model, y):
    return y.relu_() + y


def by_operator(model, y):
    y *= 0.5
    return F.relu(y)


def by_operator_under_another_name(model, y):
    z = y
    z *= 0.5
    return F.relu(z) + y


@pytest.mark.parametrize("step", [by_function, by_method, Module(nn.ReLU(inplace=True))])
def test_what_is_changed_in_place_and_read_again_stays(step):
    why, width = cut(Steps(step))
    assert "changes it in place" in why and width == 8


@pytest.mark.parametrize("step", [by_operator, Module(nn.ReLU()), lambda model, y: F.relu(y, inplace=True)])
def test_what_is_read_by_its_new_name_alone_is_cut(step):
    assert cut(Steps(step)) == (None, 4)


def test_what_torch_fx_does_not_show_is_found_by_the_comparison():
    """It records ``z *= 0.5`` as a product that leaves ``y`` as it was."""
    with pytest.raises(RemovalError, match="torch.fx does not show; keep it whole"):
        cut(Steps(by_operator_under_another_name))


@pytest.mark.parametrize(
    "pad", [lambda y, pads: F.pad(y, pads), lambda y, pads: F.pad(input=y, pad=pads, mode="constant")]
)
def test_channels_are_padded_with_zeros(pad):
    model = Steps(lambda model, y: pad(F.relu(y), (0, 0, 0, 0, 2, 2)), width=12)
    with torch.no_grad():
        model.first.bias[0], model.first.weight[0] = 0, 0  # the first channel goes, too
    assert cut(model)[1] == 8 - 5


@pytest.mark.parametrize(("args", "kwargs"), [(("circular",), {}), ((), {"mode": "circular"})])
def test_channels_padded_by_others_stay(args, kwargs):
    step = lambda model, y: F.pad(y.mean(3), (0, 0, 2, 2), *args, **kwargs).unsqueeze(3)
    why, width = cut(Steps(step, width=12))
    assert "pads channels by others" in why and width == 8


@pytest.mark.parametrize(("gone", "width"), [([4, 5, 6, 7], 4), ([5, 6], 6), ([0, 1], 8)])
def test_a_scale_that_is_read_twice_loses_what_both_layers_lose(gone, width):
    class Twice(Steps):
        def __init__(self):
            super().__init__(None)
            self.between = nn.Conv2d(8, 8, 1).double()
            with torch.no_grad():
                self.between.weight[gone] = 0

        def forward(self, x):
            y = F.relu(self.between(F.relu(self.first(x) * self.scale)) * self.scale)
            return self.second(y)

    assert cut(Twice()) == (None, width)


@pytest.mark.parametrize(
    ("index", "width"),
    [
        ((slice(None), slice(2, 6)), 4),
        ((slice(None), [2, 3, 4, 5]), 4),
        ((..., slice(2, 6), slice(None), slice(None)), 4),
    ],
)
def test_channels_taken_at_fixed_places_stay(index, width):
    why, kept = cut(Steps(lambda model, y: F.relu(y)[index], width=width))
    assert ("takes channels at fixed places" in why or "is indexed by a tensor" in why) and kept == 8


@pytest.mark.parametrize("index", [(..., slice(1, 3), 0, None), (slice(None), slice(None), slice(1, None))])
def test_places_of_a_map_are_taken_from_any_channels(index):
    assert cut(Steps(lambda model, y: F.relu(y)[index])) == (None, 4)


@pytest.mark.parametrize("first", [True, False])
def test_a_map_that_weighs_all_channels_is_no_channel_of_theirs(first):
    class Gated(Steps):
        def __init__(self):
            super().__init__(None)
            self.gate = nn.Conv2d(3, 1, 1).double()

        def forward(self, x):
            y, gate = F.relu(self.first(x)), torch.sigmoid(self.gate(x))
            return self.second(gate * y if first else y * gate)

    model = Gated()
    assert cut(model)[1] == 6  # of the constants those that are 0: what a gate makes of 0.5 is none
    assert dict(explain(model, torch.rand(2, 3, 4, 4).double())) == {
        "gate": "it is broadcast over channels", "second": "its units are outputs of the network"
    }  # fmt: skip


def test_a_layer_takes_on_constants_twice():
    """Over a zero padding a constant is a kernel of its own; one that comes later is added to it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1)).double()
    x = torch.rand(2, 3, 5, 5).double()
    for left in (3, 2):
        with torch.no_grad():
            model[0].weight[0], model[0].bias[0] = 0, 0.5
            expected = model(x)
        model = remove(model, x)
        assert model[0].out_channels == left
        assert torch.allclose(model(x), expected, rtol=1e-12)


def test_one_of_two_groups_is_cut():
    torch.manual_seed(0)
    conv = lambda i, o, groups=1: nn.Conv2d(i, o, 1, groups=groups, bias=False)
    model = nn.Sequential(conv(3, 4), conv(4, 4, 2), conv(4, 2)).double()
    with torch.no_grad():
        model[0].weight[:2] = 0
    x = torch.rand(2, 3, 4, 4).double()
    small = remove(model, x)
    assert [(m.in_channels, m.out_channels, m.groups) for m in small] == [(3, 2, 1), (2, 2, 1), (2, 2, 1)]
    assert torch.allclose(small(x), model(x), rtol=1e-12)


class Counting(nn.Conv2d):
    """It counts its calls in a buffer."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


@pytest.mark.parametrize("first", [spectral_norm(nn.Conv2d(3, 3, 1)), Counting(3, 3, 1)])
def test_following_a_model_in_train_mode_leaves_its_buffers_alone(first):
    torch.manual_seed(0)
    model = nn.Sequential(first, nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1)).train()
    with torch.no_grad():
        model[1].weight[4:], model[1].bias[4:] = 0, 0
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.rand(2, 3, 4, 4)
    explain(model, x)
    small = remove(model, x)
    assert small[1].out_channels == 4 and model.training
    for network in (model, small):
        assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    assert torch.allclose(small.eval()(x), model.eval()(x), atol=1e-6)
