"""Scores against brute force, on networks with groups, norms and shared weights; what they cost."""

import copy

import pytest
import torch
from pruning.nets import Residual, conv_net, grouped_net, pruner
from torch import nn
from torch.func import functional_call, grad, jvp
from torch.utils.flop_counter import FlopCounterMode

from prune_search.pruning.context import Passes


class Tied(nn.Module):
    """Two layers that share one weight under two names."""

    input_shape = (6,)

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


NETS = [conv_net, grouped_net, Residual, Tied]


def pruned(net, score):
    """A float64 network in the middle of training, half of it pruned, and an engine that scores on 600 images."""
    model = net().double()
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn((600, *net.input_shape), generator=generator).double()
    labels = torch.randint(4, (600,), generator=generator)
    for _ in range(3):
        model(inputs[:64])
    batch = (inputs, labels)
    options = {"loss": nn.functional.cross_entropy, "probe": lambda *_, **__: batch, "example_input": inputs[:2]}
    start = {"score": "random", "schedule": {"one-shot": {"final_sparsity": 0.5}}}
    engine = pruner(model, {"score": score, "at_start": start}, **options)
    engine.start()
    return engine, batch


def loss_of(model, batch, temperature=1.0):
    """The loss as a function of some of the parameters."""

    def loss(weights):
        outputs = functional_call(model, weights, (batch[0],)) / temperature
        return nn.functional.cross_entropy(outputs, batch[1])

    return loss


def live(values, engine):
    return {name: values[name].detach()[mask] for name, mask in engine.masks.items()}


def check(found, expected, engine):
    assert not any(values.requires_grad for values in found.values())
    found, expected = live(found, engine), live(expected, engine)
    for name in expected:
        assert expected[name].abs().max() > 0
        assert torch.allclose(found[name], expected[name], rtol=1e-8, atol=1e-12 * float(expected[name].abs().max()))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_snip_is_the_gradient_of_explicit_masks(net, frozen):
    engine, batch = pruned(net, "snip")
    engine.model.requires_grad_(not frozen)
    found = engine.recipe.score.score(engine._context(), {})
    model, weights = engine.model.eval(), engine._context().weights()
    loss = loss_of(model, batch)
    gates = {name: torch.ones_like(weight) for name, weight in weights.items()}
    expected = grad(lambda gates: loss({name: weights[name] * gates[name] for name in weights}))(gates)
    check(found, {name: value.abs() for name, value in expected.items()}, engine)
    assert all(parameter.requires_grad != frozen for parameter in engine.model.parameters())


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_loss_sensitivity_is_the_absolute_gradient(net, frozen):
    engine, batch = pruned(net, "loss-sensitivity")
    engine.model.requires_grad_(not frozen)
    found = engine.recipe.score.score(engine._context(), {})
    expected = grad(loss_of(engine.model.eval(), batch))(engine._context().weights())
    check(found, {name: value.abs() for name, value in expected.items()}, engine)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_grasp_is_the_hessian_of_the_live_weights_that_train_times_their_gradient(net, frozen):
    """The Hessian by forward over reverse, where the score differentiates backwards twice."""
    engine, batch = pruned(net, {"grasp": {"temperature": 3.0}})
    if frozen:
        next(engine.model.parameters()).requires_grad_(False)
    found = engine.recipe.score.score(engine._context(), {})
    parameters = engine._context().parameters
    weights = {name: p.detach() for name, p in parameters.items() if p.requires_grad}
    slope = grad(loss_of(engine.model.eval(), batch, temperature=3.0))
    along = {name: value * engine.masks[name] for name, value in slope(weights).items()}
    product = jvp(slope, (weights,), (along,))[1]
    if frozen:
        first = next(iter(engine.masks))
        assert not found[first].any()
        del engine.masks[first]
    check(found, {name: weights[name] * value for name, value in product.items()}, engine)


@pytest.mark.parametrize("net", NETS)
def test_synflow_is_the_flow_of_a_deep_copied_absolute_network(net):
    engine, _ = pruned(net, "synflow")
    found = engine.recipe.score.score(engine._context(), {})
    model = copy.deepcopy(engine.model).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
        for module in model.modules():
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.zero_()
                module.running_var.fill_(1)
    model(torch.ones(1, *net.input_shape).double()).sum().backward()
    weights = dict(model.named_parameters())
    check(found, {name: weights[name].detach() * weights[name].grad for name in engine.masks}, engine)


def test_scores_take_attention_and_integer_inputs():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.embed = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 8))
            self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 4)

        def forward(self, tokens):
            x = self.embed(tokens)
            return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))

    tokens, labels = torch.arange(60).view(20, 3) % 5, torch.arange(20) % 4
    for score in ("grasp", "synflow"):
        options = {"loss": nn.functional.cross_entropy, "probe": lambda *_, **__: (tokens, labels)}
        engine = pruner(Attends(), {"score": score}, example_input=tokens, **options)
        found = engine.recipe.score.score(engine._context(), {})
        assert all(values.isfinite().all() and values.any() for values in found.values())


def test_grasp_gives_nothing_to_a_weight_that_takes_no_part():
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, x):
            return self.used(x)

    inputs, labels = torch.randn(20, 6), torch.arange(20) % 4
    options = {"loss": nn.functional.cross_entropy, "probe": lambda *_, **__: (inputs, labels)}
    engine = pruner(Spare(), {"score": "grasp"}, example_input=inputs, **options)
    found = engine.recipe.score.score(engine._context(), {})
    assert found["used.weight"].all() and not found["spare.weight"].any()


def test_layer_magnitude():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, -4.0], [1.0, 1.0]]))
        model[1].weight.copy_(torch.tensor([[0.03, 0.04]]))
        model[2].weight.zero_()
    engine = pruner(model, {"score": "layer-magnitude"})
    engine._set_masks({**engine.masks, "0.weight": torch.tensor([[True, True], [False, False]])}, engine._context())
    first, second, third = live(engine.recipe.score.score(engine._context(), {}), engine).values()
    assert first.tolist() == pytest.approx([3 / 12.5**0.5, 4 / 12.5**0.5])
    assert second.tolist() == pytest.approx(first.tolist())
    assert third.tolist() == [0]


def test_grasp_counts_the_floating_point_operations_it_makes():
    """A deep chain: images times (forward + 2 backward) is at most a tenth above what torch counts."""
    layers = [layer for _ in range(12) for layer in (nn.Linear(16, 16), nn.Tanh())]
    model, images, labels = nn.Sequential(*layers), torch.randn(10, 16), torch.arange(10)
    options = {"loss": nn.functional.cross_entropy, "probe": lambda *_, **__: (images, labels)}
    engine = pruner(model, {"score": "grasp"}, **options)
    with FlopCounterMode(display=False) as forward:
        model(images)
    context = engine._context()
    with FlopCounterMode(display=False) as score:
        engine.recipe.score.score(context, {})
    passes = Passes.total(context.passes)
    counted = (passes.forward + 2 * passes.backward) / len(images) * forward.get_total_flops()
    assert 0.9 * counted < score.get_total_flops() <= counted
