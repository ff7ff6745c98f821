"""Neurons at equilibrium, by the numbers of NEq's page: when a neuron is still, and that it then costs and moves nothing."""

import copy

import pytest
import torch
from pruning.nets import conv_net, pruner, small_net
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from prune_search.pruning.context import Passes
from prune_search.pruning.equilibrium import Velocity, outputs, similarity
from prune_search.pruning.sliced import slice_gradient, sliceable, unslice_gradient

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=5e-4, fused=True),
    "adam": lambda p: torch.optim.Adam(p, 1e-2, weight_decay=5e-4),
    "adamw": lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.1, fused=True),
}


def engine_of(model, inputs, optimizer=None, **neq):
    options = {"probe": lambda images, **_: (inputs[:images], None)}
    return pruner(model, {"preset": "neq", "backward": {"neq": neq}}, 30, optimizer, **options)


def batch(net, images=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, *net.input_shape, generator=generator), torch.arange(images) % 4


def step(model, optimizer, inputs, labels):
    optimizer.zero_grad()
    F.cross_entropy(model(inputs), labels).backward()
    optimizer.step()


def epoch(engine, inputs, labels, steps=2):
    engine.epoch_start()
    for _ in range(steps):
        step(engine.model, engine.optimizer, inputs, labels)
    return engine.epoch_end(loss=1.0, accuracy=0.5)


def test_1_cosines():
    of = lambda now, before: similarity(torch.tensor([now])[:, None], torch.tensor([before])[:, None]).item()
    assert of([1.0, 0.0], [0.6, 0.8]) == pytest.approx(0.6)
    assert of([0.6, 0.8], [3.0, 4.0]) == pytest.approx(1.0)
    assert (of([0.0, 0.0], [0.0, 0.0]), of([0.0, 0.0], [1.0, 0.0]), of([1.0, 0.0], [0.0, 0.0])) == (1.0, 0.0, 0.0)


def test_1_one_permuted_channel_changes_its_own_alone():
    model = conv_net()
    before = outputs(model, batch(conv_net)[0])
    assert set(before) == {"0.weight", "1.weight", "3.weight"}
    with torch.no_grad():
        model[0].weight[2] = model[0].weight[2].flip(-1)
    phi = similarity(outputs(model, batch(conv_net)[0])["0.weight"], before["0.weight"])
    assert phi[2] < 0.99 and torch.allclose(phi[[0, 1, 3, 4, 5, 6, 7]], torch.ones(7))


@pytest.mark.parametrize(
    ("mode", "mu", "expected"),
    [
        ("paper", 0.0, [-0.40, 0.20, 0.10, 0.05, 0.00]),
        ("code", 0.0, [-0.40, 0.60, -0.10, -0.05, -0.05]),
        ("paper", 0.5, [-0.40, 0.40, -0.10, 0.10, -0.05]),
        ("code", 0.5, [-0.40, 0.40, 0.10, 0.00, -0.05]),
        ("paper", 0.9, [-0.40, 0.56, -0.404, 0.4136, -0.37224]),
        ("code", 0.9, [-0.40, 0.24, 0.116, 0.0544, -0.00104]),
    ],
)
def test_2_recursion(mode, mu, expected):
    velocity, state = Velocity(mode, mu), {}
    phi = torch.tensor([0.60, 0.80, 0.90, 0.95, 0.95], dtype=torch.float64)
    assert [velocity(value, state).item() for value in phi] == pytest.approx(expected, abs=1e-6)


def test_3_a_still_network_is_still_and_all_of_it_is_frozen():
    model = conv_net()
    inputs, labels = batch(conv_net)
    engine = engine_of(model, inputs)
    outcome = epoch(engine, inputs, labels, steps=0)
    assert engine.frozen == {} and outcome.passes == Passes(forward=12)
    recursion = engine.states["backward"]["recursion"]
    for name in ("0.weight", "1.weight", "3.weight"):
        assert torch.allclose(recursion["phi"][name], torch.ones(8), atol=1e-6)
        assert recursion["memory"][name].abs().max() <= 1e-6
    assert engine.epoch_start() == Passes(forward=12)
    assert engine.frozen == {"0.weight": 1.0, "1.weight": 1.0, "3.weight": 1.0}
    model(inputs).sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {"7.weight", "7.bias"}
    engine.epoch_end(loss=1.0, accuracy=0.5)
    assert all(parameter.requires_grad for parameter in model.parameters())


def freeze(monkeypatch, engine, rows):
    """From now on exactly these rows are frozen: weight -> list."""
    chosen = {
        name: torch.zeros(len(dict(engine.model.named_parameters())[name]), dtype=torch.bool).index_fill_(0, torch.tensor(r), True)
        for name, r in rows.items()
    }  # fmt: skip
    monkeypatch.setattr(type(engine.recipe.backward), "_chosen", lambda self, context, still: chosen)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("net", [small_net, conv_net])
def test_4_frozen_means_frozen_and_a_row_wakes_with_empty_momentum(monkeypatch, net, optimizer):
    model, (inputs, labels) = net(), batch(net)
    engine = engine_of(model, inputs, OPTIMIZERS[optimizer](model.parameters()))
    name = "2.weight" if net is small_net else "0.weight"
    owner = name.split(".")[0]
    epoch(engine, inputs, labels)
    freeze(monkeypatch, engine, {name: [1, 4]})
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    epoch(engine, inputs, labels, 20)
    for n, parameter in model.named_parameters():
        moved = (
            (parameter.detach() != before[n]).flatten(1).any(1)
            if parameter.dim() > 1
            else parameter.detach() != before[n]
        )
        frozen = [1, 4] if n in (name, f"{owner}.bias") else []
        assert not moved[frozen].any(), n
        assert moved[[row for row in range(len(parameter)) if row not in frozen]].all(), n
    state = engine.optimizer.state[dict(model.named_parameters())[name]]
    momentum = state["momentum_buffer" if optimizer == "sgd" else "exp_avg"]
    assert (momentum[[1, 4]] == 0).all() and (momentum[[0, 2]] != 0).any()
    freeze(monkeypatch, engine, {})
    epoch(engine, inputs, labels, 1)
    assert (dict(model.named_parameters())[name].detach() != before[name]).flatten(1).any(1).all()
    assert type(model[int(owner)]) in (nn.Linear, nn.Conv2d)


def test_4_decay_of_active_rows_goes_on(monkeypatch):
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2))
    engine = engine_of(model, torch.zeros(2, 3), torch.optim.SGD(model.parameters(), 0.1, weight_decay=0.1))
    freeze(monkeypatch, engine, {"0.weight": [2]})
    before = model[0].weight.detach().clone()
    engine.epoch_start()
    model[0].weight.grad = torch.zeros(4, 3)
    engine.optimizer.step()
    assert torch.allclose(model[0].weight[[0, 1, 3]], before[[0, 1, 3]] * 0.99)
    assert torch.equal(model[0].weight[2], before[2])


def gradients(module, x, g, active=None):
    module, x = copy.deepcopy(module), x.clone().requires_grad_()
    if active is not None:
        slice_gradient(module, torch.tensor(active))
    with FlopCounterMode(display=False) as forward:
        y = module(x)
    with FlopCounterMode(display=False) as counter:
        y.backward(g)
    bias = None if module.bias is None else module.bias.grad
    return y.detach(), x.grad, module.weight.grad, bias, counter.get_total_flops(), forward.get_total_flops()


@pytest.mark.parametrize("bias", [True, False])
def test_5_sliced_gradient_of_a_convolution(bias):
    torch.manual_seed(0)
    module = nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=bias).double()
    x, g, active = torch.randn(4, 6, 9, 9).double(), torch.randn(4, 8, 5, 5).double(), [1, 4, 7]
    full, some = gradients(module, x, g), gradients(module, x, g, active)
    assert torch.equal(full[0], some[0]) and torch.equal(full[1], some[1])
    assert torch.allclose(full[2][active], some[2][active], atol=1e-12, rtol=0)
    rest = [0, 2, 3, 5, 6]
    assert (some[2][rest] == 0).all()
    if bias:
        assert torch.allclose(full[3][active], some[3][active], atol=1e-12, rtol=0) and (some[3][rest] == 0).all()
    assert (full[4], some[4]) == (172_800, 118_800)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(5, 6), (7, 5)),
        (nn.Linear(5, 6, bias=False), (2, 3, 5)),
        (nn.Conv2d(6, 6, 3, groups=6, dilation=2), (2, 6, 8, 8)),
        (nn.Conv1d(3, 6, 3, padding=2), (2, 3, 9)),
        (nn.Conv3d(2, 6, 2), (2, 2, 4, 4, 4)),
    ],
)
def test_5_sliced_gradient_of_any_layer(module, shape):
    torch.manual_seed(0)
    module, x = module.double(), torch.randn(shape).double()
    g = torch.randn_like(module(x))
    full, some = gradients(module, x, g), gradients(module, x, g, [0, 3])
    assert torch.equal(full[1], some[1])
    assert torch.allclose(full[2][[0, 3]], some[2][[0, 3]], atol=1e-12, rtol=0) and (some[2][[1, 2, 4, 5]] == 0).all()
    assert some[4] < full[4]


def test_5_autocast_and_layers_that_cannot_be_sliced():
    layer = nn.Linear(4, 3)
    slice_gradient(layer, torch.tensor([1]))
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(torch.ones(2, 4))
    output.float().sum().backward()
    assert output.dtype == torch.bfloat16 and layer.weight.grad.dtype == torch.float32
    unslice_gradient(layer)
    assert type(layer) is nn.Linear and sliceable(layer) and "active" not in vars(layer)
    for other in (
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.ConvTranspose2d(2, 2, 2),
        nn.ReLU(),
    ):
        assert not sliceable(other)
    assert not sliceable(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"))


@pytest.mark.parametrize("net", [small_net, conv_net])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_6_with_nothing_frozen_training_is_the_plain_loop(net, optimizer):
    models, (inputs, labels) = [net(), net()], batch(net)
    optimizers = [OPTIMIZERS[optimizer](model.parameters()) for model in models]
    engine = engine_of(models[0], inputs, optimizers[0], threshold=-1.0)
    for _ in range(4):
        epoch(engine, inputs, labels)
        assert engine.frozen == {}
        for _ in range(2):
            step(models[1], optimizers[1], inputs, labels)
    assert all(map(torch.equal, models[0].state_dict().values(), models[1].state_dict().values()))


def test_8_a_neuron_wakes_up(monkeypatch):
    model, (inputs, labels) = small_net(), batch(small_net)
    engine = engine_of(model, inputs, threshold=0.05)
    speed = lambda self, phi, state: torch.full_like(phi, 0.0 if engine.history.epoch + 1 == 3 else 1.0)
    monkeypatch.setattr(
        Velocity, "__call__", lambda self, phi, state: (state.update(phi=phi, memory=phi), speed(self, phi, state))[1]
    )
    moved = []
    for _ in range(5):
        before = model[0].weight.detach().clone()
        epoch(engine, inputs, labels)
        moved.append(not torch.equal(model[0].weight, before))
    assert moved == [True, True, True, False, True]  # |v| < eps after the third epoch, above it after the fourth


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("neuron", {"0.weight": 1.0, "2.weight": 0.5, "4.weight": 0.96875}),
        ("layer", {"0.weight": 1.0, "4.weight": 1.0}),
        ("prefix", {"0.weight": 1.0}),
    ],
)
def test_policies(policy, expected):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 32), nn.Linear(32, 2))
    engine = engine_of(model, torch.randn(6, 4), policy=policy)
    still = {"0.weight": torch.ones(8), "2.weight": torch.arange(8) % 2, "4.weight": torch.arange(32) > 0}
    still = {name: rows.bool() for name, rows in still.items()}
    context, state = engine._context(), engine.states["backward"]
    engine.recipe.backward._freeze(context, state, engine.recipe.backward._chosen(context, still))
    assert engine.frozen == expected
    assert model[0].weight.requires_grad is False
    engine.recipe.backward.release(context, state)
    assert all(p.requires_grad for p in model.parameters())


def test_random_control_freezes_as_many():
    model = small_net()
    engine = engine_of(model, batch(small_net)[0], choose="random")
    still = {"0.weight": torch.arange(16) < 5, "2.weight": torch.arange(12) < 3}
    chosen = engine.recipe.backward._chosen(engine._context(), dict(still))
    assert [int(rows.sum()) for rows in chosen.values()] == [5, 3]
    assert not torch.equal(chosen["0.weight"], still["0.weight"])
