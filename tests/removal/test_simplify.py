"""Properties of the page on Simplify (Bragagnolo and Barbano 2022), by its numbers, and what goes beyond it."""

import copy

import pytest
import torch
import torchvision
from removal.zeroed import zeroed
from torch import nn
from torch.nn import functional as F

from prune_search.cost import cost_of
from prune_search.removal import RemovalError, apply, dead_units, explain, remove, resize, shapes_of
from prune_search.zoo.models import build_model


def resnet_20():
    return build_model("resnet-20", input_shape=(3, 32, 32), num_classes=10, seed=0)


def built(name):
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, num_classes=10)


@torch.no_grad()
def differences(model, small, x):
    """(largest difference, scale of the outputs, spread between inputs)."""
    before, after = model(x), copy.deepcopy(small).eval()(x)
    return [float(v) for v in ((before - after).abs().max(), before.abs().max(), before.std(0, correction=0).max())]


def macs_left(model, small, x):
    return cost_of(small, x).physical_macs / cost_of(model, x).physical_macs


@pytest.mark.parametrize(("share", "norms", "fold"), [(0.25, 0.5, True), (0.9, 0.5, False)])
def test_1_resnet18_is_equal(share, norms, fold):
    model, x = zeroed(built("resnet18"), share, norms=norms), torch.rand(3, 3, 32, 32)
    small = remove(model, x, fold_batchnorm=fold)
    difference, scale, _ = differences(model, small, torch.rand(4, 3, 32, 32))
    assert difference <= 1e-5 * scale
    model = model.double()
    small = remove(model, x.double(), fold_batchnorm=fold)
    for images in (1, 4):
        difference, scale, _ = differences(model, small, torch.rand(images, 3, 32, 32).double())
        assert difference <= 1e-10 * scale


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("resnet18", 0.30, 0.34),
        ("mobilenet_v3_small", 0.2, 0.6),
        ("shufflenet_v2_x0_5", 0.2, 0.5),
    ],
)
def test_1_6_half_of_the_filters_gone(name, low, high):
    """More of them, and larger: ``python -m tests.benchmarks.removal``."""
    model, x = zeroed(built(name), 0.5, shape=(8, 3, 48, 48)).double(), torch.rand(2, 3, 48, 48).double()
    small = remove(model, x)
    difference, scale, spread = differences(model, small, torch.rand(8, 3, 48, 48).double())
    assert spread > 1e-3 * scale
    assert difference <= 1e-10 * spread
    assert low <= macs_left(model, small, x) <= high
    state = lambda network: sum(tensor.numel() for tensor in network.state_dict().values())
    assert state(small) < state(model)
    assert set(dict(explain(model, x)).values()) <= {"its units are outputs of the network"}


def test_3_a_constant_over_a_zero_padding_makes_a_map_of_any_size():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 2, padding=1))
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].bias[1] = 0.7
        model[1].weight.fill_(1.0)
        model[1].bias.fill_(0.1)
        model[0].weight[0] = 1e-30  # lives, and adds nothing
        model[0].bias[0] = 0
    small = remove(model, torch.zeros(1, 1, 3, 3))
    assert small[1].weight.shape == (1, 1, 2, 2)
    for size in (3, 5):
        got = small(torch.zeros(1, 1, size, size))[0, 0]
        expected = torch.full((size + 1, size + 1), 2.9)
        expected[[0, -1]] = expected[:, [0, -1]] = 1.5
        expected[[0, 0, -1, -1], [0, -1, 0, -1]] = 0.8
        assert torch.allclose(got, expected)


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
def test_a_constant_over_another_padding_is_even(mode):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 3, padding=1, padding_mode=mode))
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].bias[1] = 0.7
    small = remove(model, torch.randn(2, 1, 5, 5))
    assert small[1].weight.shape == (1, 1, 3, 3)
    for size in (5, 8):
        x = torch.randn(2, 1, size, size)
        assert torch.allclose(small(x), model(x), atol=1e-6)


class Sum(nn.Module):
    """c(relu(a(x) + b(x)))."""

    def __init__(self, width=4):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, width, 1), nn.Conv2d(3, width, 1), nn.Conv2d(width, 2, 1)

    def forward(self, x):
        return self.c(F.relu(self.a(x) + self.b(x)))


def test_4_constants_cross_a_sum():
    torch.manual_seed(0)
    model = Sum()
    with torch.no_grad():
        model.a.weight[2:] = 0
        model.b.weight[[0, 3]] = 0
        model.a.bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.5]))
        model.b.bias.copy_(torch.tensor([0.4, 0.5, 0.6, 0.7]))
    x = torch.randn(2, 3, 4, 4)
    expected = model.c.bias + 1.2 * model.c.weight[:, 3, 0, 0]
    small = remove(model, x)
    assert small.c.weight.shape == (2, 3, 1, 1)
    assert torch.allclose(small.c.bias, expected)
    assert differences(model, small, x)[0] <= 1e-6
    assert shapes(remove(small, x)) == shapes(small)


def shapes(model):
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def wide_sum():
    """Two layers of 32 channels that share 8 living ones."""
    torch.manual_seed(0)
    model = Sum(32)
    with torch.no_grad():
        model.a.weight[20:] = 0
        model.b.weight[:12] = 0
    x = torch.randn(2, 3, 4, 4)
    return model, x


def test_a_wide_sum_is_computed_by_halves():
    """Each computes its own 20, the sum has 32."""
    model, x = wide_sum()
    small = remove(model, x)
    assert (small.a.weight.shape[0], small.b.weight.shape[0], small.c.weight.shape[1]) == (20, 20, 32)
    assert differences(model, small, x)[0] <= 1e-6
    assert remove(small, x).state_dict().keys() == small.state_dict().keys()


def test_halves_of_a_wide_sum_are_filled_up_to_a_multiple():
    model, x = wide_sum()
    small = copy.deepcopy(model)
    apply(small, dead_units(small, x, multiple=8, narrow=True))
    assert (small.a.weight.shape[0], small.b.weight.shape[0], small.c.weight.shape[1]) == (24, 24, 32)
    assert differences(model, small, x)[0] <= 1e-6


class Halves(nn.Module):
    """Two layers read one, each some of its channels."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 32, 1), nn.Conv2d(32, 2, 1), nn.Conv2d(32, 2, 1)

    def forward(self, x):
        x = F.relu(self.a(x))
        return self.b(x) - self.c(x)


def test_a_layer_reads_those_channels_alone_that_it_has_weights_for():
    model = Halves()
    with torch.no_grad():
        model.b.weight[:, 12:] = 0
        model.c.weight[:, :12] = 0
    x = torch.randn(2, 3, 4, 4)
    small = remove(model, x)
    assert [layer.weight.shape[:2] for layer in (small.a, small.b, small.c)] == [(32, 3), (2, 12), (2, 20)]
    assert differences(model, small, x)[0] <= 1e-6


class Bordered(nn.Module):
    """Half of a's channels read a constant alone, over a zero padding: another value at the border."""

    def __init__(self):
        super().__init__()
        self.first, self.a = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 32, 3, padding=1)
        self.b, self.c = nn.Conv2d(1, 32, 1), nn.Conv2d(32, 2, 1)
        with torch.no_grad():
            self.first.weight[1] = 0
            self.first.bias[1] = 0.7
            self.a.weight[:16, 0] = 0

    def forward(self, x):
        return self.c(F.relu(self.a(self.first(x)) + self.b(x)))


def test_channels_that_are_constant_but_not_even_are_computed():
    torch.manual_seed(0)
    model, x = Bordered(), torch.randn(2, 1, 6, 6)
    small = remove(model, x)
    assert (small.first.out_channels, small.a.weight.shape[0]) == (1, 32)
    assert differences(model, small, x)[0] <= 1e-6


class Halved(nn.Module):
    """Each half goes into a layer of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 12, 1), nn.Conv2d(6, 2, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x):
        first, second = torch.chunk(F.relu(self.a(x)), 2, 1)
        return self.b(first) + self.c(second)


def test_halves_of_a_chunk_stay_equally_wide():
    model = Halved()
    with torch.no_grad():
        model.a.weight[[0, 1, 2, 7]] = 0
        model.a.bias[[0, 1, 2, 7]] = 0
    x = torch.randn(2, 3, 4, 4)
    small = remove(model, x)
    assert (small.a.out_channels, small.b.in_channels, small.c.in_channels) == (10, 5, 5)
    assert differences(model, small, x)[0] <= 1e-6


class Summed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 3, 1), nn.Linear(3, 2)

    def forward(self, x):
        return self.b(F.relu(self.a(x)).sum((2, 3)))


def test_a_sum_over_a_map_keeps_constants_alone_that_grow_with_it():
    model = Summed()
    with torch.no_grad():
        model.a.weight[1:] = 0
        model.a.bias[1:] = torch.tensor([-0.5, 0.5])  # nothing after the activation, and half of every entry
    small = remove(model, torch.randn(2, 1, 4, 4))
    assert small.a.out_channels == 2
    for size in (4, 7):
        x = torch.randn(2, 1, size, size)
        assert torch.allclose(small(x), model(x), atol=1e-5)


def test_7_a_second_run_changes_nothing_and_the_first_marks_nothing():
    model, x = zeroed(built("mobilenet_v3_small"), 0.5), torch.rand(2, 3, 32, 32)
    before = copy.deepcopy(model.state_dict())
    small = remove(model, x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again = remove(small, x)
    assert shapes(again) == shapes(small)
    assert all(torch.equal(value, small.state_dict()[name]) for name, value in again.state_dict().items())


def test_8_nothing_pruned_is_the_folded_network():
    model, x = zeroed(resnet_20(), 0.0), torch.rand(2, 3, 32, 32)
    small = remove(model, x)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in small.modules())
    assert cost_of(small, x).physical_macs == cost_of(model, x).physical_macs
    assert shapes(remove(model, x, fold_batchnorm=False)) == shapes(model)


def test_9_another_resolution():
    model = zeroed(resnet_20(), 0.5)
    small = remove(model, torch.rand(2, 3, 32, 32), fold_batchnorm=False)
    difference, scale, _ = differences(model, small, torch.rand(2, 3, 48, 48))
    assert difference <= 1e-5 * scale


class Mixed(nn.Module):
    """What DenseNet, ResNeXt, squeeze and excite, and ShuffleNet do, at once: cat, groups, products, shuffled halves."""

    def __init__(self):
        super().__init__()
        block = lambda i, o, k=1, **more: nn.Sequential(
            nn.Conv2d(i, o, k, padding=k // 2, bias=False, **more), nn.BatchNorm2d(o), nn.ReLU()
        )
        self.stem, self.grow, self.grouped = block(3, 16, 3), block(16, 16, 3), block(32, 32, 3, groups=8)
        self.squeeze, self.excite = nn.Conv2d(32, 8, 1), nn.Conv2d(8, 32, 1)
        self.turn, self.pre, self.head = block(16, 16, 3), nn.BatchNorm2d(32), nn.Linear(32 * 4, 5)

    def forward(self, x):
        x = self.stem(x)
        x = self.grouped(torch.cat([x, self.grow(x)], 1))
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        first, second = x.chunk(2, 1)
        x = torch.cat([first, self.turn(second)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(F.silu(self.pre(x)), 2), 1))


def test_a_group_is_cut_as_a_whole_and_layers_tell_their_widths():
    torch.manual_seed(0)
    conv = lambda i, o, groups: nn.Conv2d(i, o, 1, groups=groups, bias=False)
    model = nn.Sequential(conv(3, 8, 1), conv(8, 8, 4), conv(8, 8, 8), conv(8, 2, 1)).double()
    with torch.no_grad():
        model[0].weight[:5] = 0  # both inputs of two groups, one of the third
    x = torch.rand(2, 3, 4, 4).double()
    small = remove(model, x)
    widths = [(module.in_channels, module.out_channels, module.groups) for module in small]
    assert widths == [(3, 4, 1), (4, 4, 2), (4, 4, 4), (4, 2, 1)]
    assert torch.allclose(small(x), model(x), rtol=1e-12)


@pytest.mark.parametrize(("share", "most"), [(0.25, 1.0), (0.5, 0.75), (0.9, 0.4)])
@pytest.mark.parametrize("fold", [False, True])
def test_sums_products_groups_and_shuffles(share, most, fold):
    torch.manual_seed(0)
    model = zeroed(Mixed(), share, norms=share / 2, shape=(8, 3, 8, 8)).double()
    x = torch.rand(2, 3, 8, 8).double()
    small = remove(model, x, fold_batchnorm=fold)
    difference, scale, _ = differences(model, small, torch.rand(8, 3, 8, 8).double())
    assert difference <= 1e-12 * scale
    assert macs_left(model, small, x) < most
    assert dict(explain(model, x)) == {"head": "its units are outputs of the network"}


class Functional(nn.Module):
    """Functional calls on the module's own parameters, a norm with an activation built in, a shortcut of option A."""

    def __init__(self):
        super().__init__()
        parameter = lambda *shape: nn.Parameter(torch.randn(*shape) * 0.3)
        self.w1, self.b1, self.w2, self.b2 = parameter(8, 3, 3, 3), parameter(8), parameter(16, 8, 3, 3), parameter(16)
        self.gamma, self.beta = parameter(8), parameter(8)
        self.register_buffer("mean", torch.randn(8) * 0.1)
        self.register_buffer("var", torch.rand(8) + 0.5)
        self.norm, self.w3, self.b3 = NormRelu(16), parameter(2, 16), parameter(2)

    def forward(self, x):
        y = F.conv2d(x, self.w1, self.b1, padding=1)
        y = F.relu(F.batch_norm(y, self.mean, self.var, self.gamma, self.beta, False))
        z = self.norm(F.conv2d(y, self.w2, self.b2, stride=2, padding=1))
        z = z + F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        return F.linear(z.mean((2, 3)), self.w3, self.b3)


class WithoutBias(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.weight = nn.Linear(3, 4), nn.Parameter(torch.randn(2, 4))

    def forward(self, x):
        return F.linear(F.relu(self.first(x)), self.weight)


def test_a_functional_layer_without_a_bias_goes_on_reading_constants():
    model = WithoutBias()
    with torch.no_grad():
        model.first.weight[2:] = 0
        model.first.bias[2:] = torch.tensor([0.5, -0.5])  # a constant, and nothing after the activation
    x = torch.randn(5, 3)
    small = remove(model, x)
    assert small.weight.shape == (2, 3)
    assert differences(model, small, x)[0] <= 1e-6


class NormRelu(nn.BatchNorm2d):
    def forward(self, x):
        return F.relu(super().forward(x))


def test_functional_layers_norms_with_activations_and_padded_channels_are_followed():
    torch.manual_seed(0)
    model = Functional().eval()
    with torch.no_grad():
        model.w1[[1, 4]] = 0
        model.w2[[0, 1, 7, 14, 15]] = 0
        model.w2[:, 6] = 0
        model.w3[:, 10] = 0
    x = torch.randn(2, 3, 6, 6)
    small = remove(model, x)
    assert small.w2.shape == (15, 7, 3, 3)  # the padding holds the rest
    assert small.w1.shape[0] == small.gamma.numel() == small.mean.numel() == small.w2.shape[1]
    assert differences(model, small, torch.randn(4, 3, 6, 6))[0] <= 1e-5


class Cascade(nn.Module):
    """The second layer's channel 1 reads only a dead channel, over a zero padding: constant, and another at every size."""

    def __init__(self, between, kernel=3, padding=1):
        super().__init__()
        self.first, self.between, self.second = nn.Conv2d(1, 2, 1), between, nn.Conv2d(2, 2, kernel, padding=padding)
        self.last = nn.Conv2d(2, 2, 1)
        with torch.no_grad():
            self.first.weight[1] = 0
            self.first.bias[1] = 0.7
            self.second.weight[1, 0] = 0

    def forward(self, x):
        return self.last(F.relu(self.second(self.between(self.first(x))).mean((2, 3), keepdim=True)))


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), ((1, 2), (0, 1))])
def test_constants_that_hold_for_one_size_refuse_others(kernel, padding):
    torch.manual_seed(0)
    model = Cascade(nn.Identity(), kernel, padding)
    for size in (1, 4):
        small = remove(model, torch.rand(2, 1, size, size))
        assert small.second.out_channels == 1
        x = torch.rand(2, 1, size, size)
        assert torch.allclose(small(x), model(x), atol=1e-6)
        with pytest.raises(RemovalError, match=f"maps of {size}x{size} here, but got 5x5"):
            small(torch.rand(2, 1, 5, 5))
        again = resize(Cascade(nn.Identity(), kernel, padding), shapes_of(small))
        again.load_state_dict(small.state_dict())
        assert torch.equal(again(x), small(x)) and shapes(remove(small, x)) == shapes(small)
        with pytest.raises(RemovalError):
            again(torch.rand(2, 1, 5, 5))


@pytest.mark.parametrize(
    "between",
    [
        nn.AvgPool2d(3, 1, 1),
        nn.ZeroPad2d(1),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.MaxPool2d(3, 1, 1),
        nn.ReplicationPad2d(1),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_what_is_kept_of_a_padded_constant_holds_at_any_size(between, size):
    torch.manual_seed(0)
    model = Cascade(between)
    with torch.no_grad():
        model.second.weight[1] = torch.rand(2, 3, 3)
    assert "torch.fx cannot trace" not in str(explain(model, torch.rand(1, 1, size, size)))
    small = remove(model, torch.rand(2, 1, size, size))
    for other in (3, 6):
        x = torch.rand(2, 1, other, other)
        assert torch.allclose(small(x), model(x), atol=1e-6)
