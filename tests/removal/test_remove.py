"""remove(): equal, smaller, complete, without side effects."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prune_search.removal import RemovalError, check_equal, explain, remove


def linear(weight, bias=None):
    weight = torch.tensor(weight, dtype=torch.float32)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(torch.tensor(bias, dtype=torch.float32))
    return layer


def mask_randomly(model, sparsity, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter *= torch.rand(parameter.shape, generator=generator) >= sparsity
            else:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def mlp(widths, activation=nn.ReLU, **options):
    layers = []
    for n_in, n_out in zip(widths, widths[1:]):
        layers += [nn.Linear(n_in, n_out, **options), activation()]
    return nn.Sequential(*layers[:-1])


def shapes(model):
    return [tuple(m.weight.shape) for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]


def assert_same(model, small, x, tolerance=1e-5):
    with torch.no_grad():
        before, after = copy.deepcopy(model).eval()(x), copy.deepcopy(small).eval()(x)
    assert (before - after).abs().max() <= tolerance * before.abs().max()


def test_dyprune_t4():
    model = nn.Sequential(
        linear([[1, 2], [0, 0], [3, -1]], [0.5, 0.7, -1]),
        nn.ReLU(),
        linear([[1, 2, 0], [-1, 4, 0]], [0.1, 0.2]),
    )
    x = torch.ones(1, 2)
    assert torch.allclose(model(x), torch.tensor([[5.0, -0.5]]))
    small = remove(model, x)
    assert small[0].weight.tolist() == [[1, 2]] and small[0].bias.tolist() == [0.5]
    assert small[2].weight.tolist() == [[1], [-1]]
    assert torch.allclose(small[2].bias, torch.tensor([1.5, 3.0]))
    assert torch.allclose(small(x), torch.tensor([[5.0, -0.5]]))
    assert (small[0].out_features, small[2].in_features) == (1, 1)


def test_hand_mlp_of_simplify():
    model = nn.Sequential(linear([[1, 2], [0, 0]], [0.5, 0.75]), nn.ReLU(), linear([[2, 4], [-1, 8]], [1, 0]))
    small = remove(model, torch.ones(1, 2))
    assert small[2].weight.tolist() == [[2], [-1]] and small[2].bias.tolist() == [4, 6]
    assert small(torch.ones(1, 2)).tolist() == [[11.0, 2.5]]


def test_zero_sum_unit_and_zero_output_row_are_kept():
    model = nn.Sequential(linear([[1, -1, 0], [2, 0, 1]], [0, 0]), nn.ReLU(), linear([[0, 0], [1, 1]], [0, 0]))
    assert shapes(remove(model, torch.randn(4, 3))) == [(2, 3), (2, 2)]


@pytest.mark.parametrize("bias", [None, [0.0, 0.0]])
def test_sigmoid_of_a_zero_unit_contributes_a_half(bias):
    model = nn.Sequential(linear([[1, 1], [0, 0]], bias), nn.Sigmoid(), linear([[1, 3]]))
    small = remove(model, torch.randn(3, 2))
    assert shapes(small) == [(1, 2), (1, 1)]
    assert small[2].bias.tolist() == [1.5]


def test_chain_without_biases_needs_none():
    model = mask_randomly(mlp((20, 30, 30, 5), bias=False), 0.95)
    small = remove(model, torch.randn(8, 20))
    assert shapes(small) != shapes(model)
    assert all(small[i].bias is None for i in (0, 2, 4))
    assert_same(model, small, torch.randn(8, 20))


def test_one_removal_strands_another():
    model = nn.Sequential(
        linear([[1.0], [1.0]], [0, 0]), nn.ReLU(),
        linear([[1, 0], [0, 1]], [0, 0]), nn.ReLU(),
        linear([[1, 0], [0, 0], [0, 0]], [0, 0, 0.25]), nn.ReLU(),
        linear([[1, 1, 2]], [0]),
    )  # fmt: skip
    small = remove(model, torch.randn(4, 1))
    assert shapes(small) == [(1, 1), (1, 1), (1, 1), (1, 1)]
    assert small[6].bias.item() == 0.5


@pytest.mark.parametrize("sparsity", [0.9, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Sigmoid, nn.Hardswish])
def test_random_net_is_equal_and_a_fixed_point(sparsity, activation):
    model = mask_randomly(mlp((50, 60, 60, 60, 60, 10), activation), sparsity)
    x = torch.randn(16, 50)
    small = remove(model, x)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    assert_same(model, small, x)
    assert shapes(remove(small, x)) == shapes(small)


def test_float64_to_1e_10():
    model = mask_randomly(mlp((50, 60, 60, 10)).double(), 0.95)
    x = torch.randn(16, 50, dtype=torch.float64)
    assert_same(model, remove(model, x), x, 1e-10)


def test_a_dead_layer_keeps_one_unit():
    model = mlp((4, 5, 3))
    nn.init.zeros_(model[0].weight)
    small = remove(model, torch.randn(2, 4))
    assert shapes(small) == [(1, 4), (3, 1)]
    assert_same(model, small, torch.randn(2, 4))


def test_input_is_untouched_bit_for_bit():
    model = mask_randomly(mlp((20, 30, 30, 5)), 0.95).train()
    before = copy.deepcopy(model.state_dict())
    parameters = list(model.parameters())
    rng = torch.get_rng_state()
    small = remove(model, torch.zeros(2, 20))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(a is b for a, b in zip(parameters, model.parameters()))
    assert model.training and small.training and type(small) is type(model)
    assert torch.equal(rng, torch.get_rng_state())


def test_nothing_pruned_nothing_changed():
    model = mlp((4, 5, 3))
    small = remove(model, torch.randn(2, 4))
    assert all(torch.equal(v, small.state_dict()[k]) for k, v in model.state_dict().items())


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(10, 20), nn.Linear(20, 20), nn.Linear(20, 2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.drop(F.leaky_relu(self.a(x.flatten(1)), 0.2, inplace=True))
        return self.c(F.dropout(torch.tanh(self.b(x)), 0.5, self.training))


def test_functional_activations_and_dropout():
    model = mask_randomly(Functional(), 0.95)
    small = remove(model, torch.randn(4, 10))
    assert isinstance(small, Functional) and small.a.out_features < 20 and small.b.out_features < 20
    assert_same(model, small, torch.randn(4, 10))
    assert explain(model, torch.zeros(1, 10)) == [("c", "its units are outputs of the network")]


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = F.relu(self.a(x))
        return self.c(x + F.relu(self.b(x)))


class Branching(Residual):
    def forward(self, x):
        x = F.relu(self.a(x))
        return self.c(x) if x.sum() > 0 else self.c(self.b(x))


class Tied(Residual):
    def __init__(self):
        super().__init__()
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.c(F.relu(self.b(F.relu(self.a(x)))))


class CalledTwice(Residual):
    def forward(self, x):
        return self.c(F.relu(self.a(F.relu(self.a(x)))))


class WeightRead(Residual):
    def forward(self, x):
        return self.c(F.relu(self.a(x))) + self.a.weight.sum()


class AlwaysDropout(Residual):
    def forward(self, x):
        return self.c(F.dropout(self.a(x), 0.0))


class OnlyInTraining(Residual):
    def forward(self, x):
        x = F.relu(self.a(x))
        return (self.c(x), self.b(x)) if self.training else self.c(x)


class Softmaxed(Residual):
    def forward(self, x):
        return self.c(torch.softmax(self.a(x), -1))


@pytest.mark.parametrize(
    "net, layer, reason",
    [
        (Branching, "a", "torch.fx cannot trace the model"),
        (Tied, "a", "shares a parameter"),
        (CalledTwice, "a", "called 2 times"),
        (WeightRead, "a", "used outside of it"),
        (AlwaysDropout, "a", "goes through"),
        (Softmaxed, "a", "goes through"),
    ],
)
def test_what_cannot_be_followed_is_left_whole(net, layer, reason):
    model = net()
    with torch.no_grad():
        for child in (model.a, model.b):
            child.weight[:4] = 0
    small = remove(model, torch.randn(3, 6))
    assert shapes(small) == [(6, 6), (6, 6), (2, 6)]
    assert_same(model, small, torch.randn(3, 6))
    assert reason in dict(explain(model, torch.zeros(1, 6)))[layer]


def test_a_layer_of_train_mode_only_hears_the_same():
    model = OnlyInTraining()
    with torch.no_grad():
        model.a.weight[:4] = 0
        model.a.bias[:4] = torch.tensor([1.0, 0.0, -1.0, 2.0])
    small = remove(model, torch.randn(3, 6))
    assert shapes(small)[0] == (4, 6)
    x = torch.randn(5, 6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(model(x), small(x)))
    assert dict(explain(model, x))["b"] == "it is not called"


def test_hooks_keep_layers_whole():
    model = nn.Sequential(linear([[1.0], [0.0]], [0, 0]), nn.ReLU(), linear([[1, 1]], [0]))
    handle = model[1].register_forward_hook(lambda module, inputs, output: output + 1)
    assert shapes(remove(model, torch.randn(2, 1))) == [(2, 1), (1, 2)]
    handle.remove()
    nested = nn.Sequential(nn.Sequential(model[0], model[1]), model[2])
    nested[0].register_forward_hook(lambda module, inputs, output: output + 1)
    assert shapes(remove(nested, torch.randn(2, 1))) == [(2, 1), (1, 2)]
    assert "'0' has a forward hook" in dict(explain(nested, torch.zeros(1, 1)))["0.0"]


def test_sequences():
    model = mask_randomly(mlp((6, 12, 3)), 0.9)
    x = torch.randn(2, 5, 6)
    small = remove(model, x)
    assert shapes(small) != shapes(model)
    assert_same(model, small, x)


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def test_lenet5_is_cut_everywhere():
    model = mask_randomly(lenet5(), 0.98)
    x = torch.randn(4, 1, 28, 28)
    small = remove(model, x)
    assert all(a < b for a, b in zip(shapes(small), shapes(model)))
    assert small[7].in_features < 400 and small[7].out_features < 120 and small[9].out_features < 84
    assert_same(model, small, x)
    assert explain(model, x) == [("11", "its units are outputs of the network")]


def conv_bn():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2),
        nn.BatchNorm2d(8, affine=False), nn.Flatten(), nn.Linear(32, 16), nn.BatchNorm1d(16), nn.ReLU(),
        nn.Linear(16, 3), nn.BatchNorm1d(3, affine=False),
    )  # fmt: skip
    for module in model:
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
    return model


def test_batchnorm_is_folded():
    model = conv_bn()
    with torch.no_grad():
        model[6].weight[:8] = 0
    x = torch.rand(4, 3, 6, 6)
    small = remove(model, x)
    assert [type(small[i]) for i in (1, 4, 7, 10)] == [nn.Identity] * 4
    assert small[0].bias is not None and model[0].bias is None
    assert small[6].out_features == 8
    assert_same(model, small, x)
    assert len(list(small.parameters())) == 8


def test_batchnorm_is_kept_on_request():
    model = conv_bn()
    small = remove(model, torch.rand(4, 3, 6, 6), fold_batchnorm=False)
    assert [type(m) for m in small] == [type(m) for m in model]


def test_norm_over_a_sequence_is_not_folded():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))
    assert type(remove(model, torch.randn(2, 5, 4))[1]) is nn.BatchNorm1d


def test_disagreement_is_loud():
    model = mlp((4, 5, 3))
    other = copy.deepcopy(model)
    nn.init.constant_(other[2].bias, 1.0)
    with pytest.raises(RemovalError, match="disagrees"):
        check_equal(model, other, torch.randn(2, 4))
    check_equal(model, copy.deepcopy(model), torch.randn(2, 4))


class Several(nn.Module):
    """Its outputs as a mapping, in which one of them sits in a tuple."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, x):
        return {"one": self.one(x), "rest": (x, self.two(x))}


@pytest.mark.parametrize("layer", ["one", "two"])
def test_a_disagreement_in_any_of_several_outputs_is_loud(layer):
    model = Several()
    other = copy.deepcopy(model)
    nn.init.constant_(other.get_submodule(layer).bias, 1.0)
    with pytest.raises(RemovalError, match="disagrees"):
        check_equal(model, other, torch.randn(2, 4))
    check_equal(model, copy.deepcopy(model), torch.randn(2, 4))


def test_nan_in_one_network_only_is_a_disagreement():
    model = mlp((4, 5, 3))
    other = copy.deepcopy(model)
    nn.init.constant_(other[2].bias, float("nan"))
    with pytest.raises(RemovalError):
        check_equal(model, other, torch.randn(2, 4))


def test_a_difference_of_a_thousandth_is_a_disagreement():
    model = mlp((4, 5, 3))
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[2].weight *= 1.001
        other[2].bias *= 1.001
    with pytest.raises(RemovalError, match="largest difference .* at an output scale of .*, allowed 1e-05 of it"):
        check_equal(model, other, torch.randn(2, 4))


class SinglePrecision(nn.Linear):
    """A dtype is written into it, so that it takes float32 alone."""

    def forward(self, x):
        return F.linear(x, self.weight.float(), self.bias.float())


def test_networks_that_take_no_float64_are_compared_as_they_are():
    model = SinglePrecision(3, 2)
    with pytest.raises(RuntimeError):
        model(torch.randn(2, 3).double())
    check_equal(model, copy.deepcopy(model), torch.randn(2, 3))
    with pytest.raises(RemovalError, match="disagrees"):
        check_equal(model, SinglePrecision(3, 2), torch.randn(2, 3))


def test_a_layer_alone_stays_whole():
    model = nn.Linear(3, 2, bias=False)
    assert torch.equal(remove(model, torch.randn(2, 3)).weight, model.weight)


class Methods(Residual):
    """Activations as methods of tensors, a factor that is one number, and a scale of one entry."""

    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.tensor(0.5))
        self.register_buffer("scale", torch.tensor([2.0]))

    def forward(self, x):
        return self.c((self.a(x) * self.factor).relu() * self.scale)


def test_methods_and_single_numbers_keep_channels_apart():
    model = Methods()
    with torch.no_grad():
        model.a.weight[:4] = 0
    small = remove(model, torch.randn(3, 6))
    assert (small.a.out_features, small.c.in_features) == (2, 2)
    assert_same(model, small, torch.randn(3, 6))


class Read(nn.Module):
    """What the norm reads is read by another layer too."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)

    def forward(self, x):
        x = self.a(x)
        return self.norm(x) + self.b(x)


def test_a_norm_is_folded_into_nothing_that_others_read():
    model = Read().eval()
    model.norm.running_mean += 1
    small = remove(model, torch.randn(2, 1, 3, 3))
    assert type(small.norm) is nn.BatchNorm2d
    assert_same(model, small, torch.randn(2, 1, 3, 3))


@pytest.mark.parametrize(
    ("between", "left"), [(nn.PReLU(4), 2), (nn.PReLU(), 2), (nn.BatchNorm2d(4, track_running_stats=False), 4)]
)
def test_a_slope_for_each_channel_goes_with_it_and_a_norm_by_the_batch_keeps_all(between, left):
    model = nn.Sequential(nn.Conv2d(1, 4, 1), between, nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        model[0].weight[:2] = 0
    x = torch.randn(3, 1, 4, 4)
    small = remove(model, x)
    assert (small[0].out_channels, small[2].in_channels) == (left, left)
    assert_same(model, small, x)
    reason = dict(explain(model, x)).get("0", "")
    assert ("keeps no statistics" in reason) == (left == 4)
