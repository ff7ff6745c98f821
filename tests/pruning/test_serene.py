"""Sensitivity of neurons and the shrinking it drives, by the numbers of SeReNe's page."""

import copy

import pytest
import torch
from pruning.nets import conv_net, pruner, small_net
from torch import nn
from torch.nn import functional as F

from prune_search.pruning.context import Passes, measurements

PLAIN = {"preset": "magnitude", "dense_epochs": 1, "removal": "never"}


def two_neurons():
    """W = I without bias, ReLU, V."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(inplace=True), nn.Linear(2, 3, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[2].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.0], [-1.0, 4.0]]))
    return model


SAMPLES = torch.tensor([[1.0, 2.0], [1.0, -2.0]])


def engine_of(model, inputs, labels=None, **serene):
    labels = torch.arange(len(inputs)) % 3 if labels is None else labels
    options = {"probe": lambda images, **_: (inputs[:images], labels[:images]), "loss": F.cross_entropy}
    recipe = {**PLAIN, "regularizer": {"serene": {"images": len(inputs), **serene}}}
    return pruner(model, recipe, optimizer=torch.optim.SGD(model.parameters(), 0.0), **options)


def sensitivity(model, inputs, **options):
    context = engine_of(model, inputs)._context()
    return measurements()["sensitivity"].take(context, images=len(inputs), **options)


@pytest.mark.parametrize(
    ("variant", "expected", "passes"),
    [("full", [5 / 3, 1.0], Passes(2, 6)), ("lower-bound", [1.0, 1 / 3], Passes(2, 2)), ("local", [1, 0], Passes(2))],
)
def test_1_hand_numbers(variant, expected, passes):
    found, taken = sensitivity(two_neurons(), SAMPLES, variant=variant)
    assert found["0.weight"].tolist() == pytest.approx(expected)
    assert taken == passes
    if variant != "local":
        assert found["2.weight"].tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(("variant", "factor"), [("full", 1.0), ("lower-bound", 1 - 0.1 * 2 / 3), ("local", 0.9)])
def test_1_one_shrink(variant, factor):
    model = two_neurons()
    engine_of(model, SAMPLES, variant=variant, strength=0.1).optimizer.step()
    assert torch.allclose(model[0].weight, torch.diag(torch.tensor([1.0, factor])))


def probe(net, images=12):
    return torch.randn(images, *net.input_shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("net", [small_net, conv_net])
def test_2_the_lower_bound_is_one(net):
    full, low = (sensitivity(net(), probe(net), variant=variant)[0] for variant in ("full", "lower-bound"))
    assert full.keys() == low.keys()
    for name, values in full.items():
        assert (low[name] >= 0).all() and (low[name] <= values * (1 + 1e-5)).all()
        assert values.shape == (len(dict(net().named_parameters())[name]),)
    single = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 1))
    full, low = (sensitivity(single, probe(small_net), variant=variant)[0] for variant in ("full", "lower-bound"))
    assert all(torch.allclose(full[name], low[name]) for name in full)


@pytest.mark.parametrize("variant", ["full", "lower-bound", "local", "neuron-lobster"])
@pytest.mark.parametrize("net", [small_net, conv_net])
def test_3_rows_shrink_as_one_and_nothing_else_does(net, variant):
    model, inputs = net(), probe(net)
    before = copy.deepcopy(model.state_dict())
    engine = engine_of(model, inputs, variant=variant, strength=0.5)
    engine.optimizer.step()
    for name, value in model.state_dict().items():
        if name in engine.masks:
            ratio = (value / before[name]).flatten(1)
            assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-5)
            assert (ratio >= 0.5 - 1e-6).all() and (ratio <= 1).all() and (ratio < 1).any()
        else:
            assert torch.equal(value, before[name])


@pytest.mark.parametrize("variant", ["full", "lower-bound", "local", "neuron-lobster"])
def test_4_training_is_intact(variant):
    models = [small_net(), small_net()]
    inputs, labels = probe(small_net), torch.arange(12) % 4
    optimizers = [torch.optim.SGD(model.parameters(), 0.1, momentum=0.9) for model in models]
    options = {"probe": lambda images, **_: (inputs, labels), "loss": F.cross_entropy, "optimizer": optimizers[0]}
    serene = {"variant": variant, "strength": 0.0, "every": 3}
    pruner(models[0], {**PLAIN, "regularizer": {"serene": serene}}, **options)
    for model, optimizer in zip(models, optimizers, strict=True):
        for _ in range(10):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    assert all(map(torch.equal, models[0].state_dict().values(), models[1].state_dict().values()))


def test_5_positions_and_repeated_images():
    model, inputs = conv_net(), probe(conv_net)
    mean, repeated, total = (
        sensitivity(model, x, positions=positions)[0]
        for x, positions in ((inputs, "mean"), (torch.cat([inputs, inputs]), "mean"), (inputs, "sum"))
    )
    for name in ("0.weight", "3.weight"):
        assert torch.allclose(mean[name], repeated[name])
        assert torch.allclose(total[name], mean[name] * 36)
        assert mean[name].shape == (8,)


def test_6_a_neuron_that_never_fires():
    model = small_net()
    with torch.no_grad():
        model[0].bias[3] = -1e4
    before = model[0].weight.detach().clone()
    engine_of(model, probe(small_net), strength=0.25).optimizer.step()
    assert torch.equal(model[0].weight[3], before[3] * 0.75)
    assert sensitivity(model, probe(small_net))[0]["0.weight"][3] == 0


def test_8_batched_gradients_are_the_same():
    model, inputs = conv_net(), probe(conv_net)
    kept = []
    handle = model[0].register_forward_hook(lambda module, given, output: kept.append(output) or output.clone())
    answers = model.eval()(inputs)
    handle.remove()
    slopes = torch.autograd.grad(answers.sum(0), kept[0], torch.eye(answers.shape[1]), is_grads_batched=True)[0]
    expected = slopes.abs().flatten(3).mean((0, 1, 3))
    found = sensitivity(model, inputs, variant="full")[0]["0.weight"]
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)


def test_refreshed_every_few_steps_counted_and_smoothed():
    model = small_net()
    engine = engine_of(model, probe(small_net), every=2, smoothing=0.5, strength=0.0)
    state, seen = engine.states["regularizer"], []
    engine.epoch_start()
    for _ in range(4):
        with torch.no_grad():
            model[4].weight.mul_(2.0)
        engine.optimizer.step()
        seen.append(state["sensitivity"]["0.weight"].clone())
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2]) and torch.equal(seen[2], seen[3])
    assert torch.allclose(seen[2], 0.5 * seen[0] + 0.5 * 4 * seen[0])
    outcome = engine.epoch_end(loss=1.0, accuracy=0.5)
    assert outcome.passes == Passes(24, 24)


def test_gradient_at_the_outputs_is_averaged_with_momentum():
    model, inputs, labels = two_neurons(), SAMPLES, torch.tensor([0, 1])
    engine = engine_of(model, inputs, labels, variant="neuron-lobster", every=1, strength=0.0)
    engine.optimizer.step()
    output = model[0](inputs).detach().requires_grad_()
    F.cross_entropy(model[2](F.relu(output)), labels).backward()
    mean = output.grad.sum(0)  # the loss is a mean already
    state = engine.states["regularizer"]
    assert torch.allclose(state["sensitivity"]["0.weight"], mean)
    engine.optimizer.step()
    assert torch.allclose(state["sensitivity"]["0.weight"], 1.9 * mean)


def test_as_a_score():
    model, inputs = small_net(), probe(small_net)
    expected = sensitivity(model, inputs)[0]["2.weight"]
    recipe = {**PLAIN, "score": "neuron-sensitivity", "granularity": "channel", "final_epochs": 1}
    options = {"probe": lambda images, **_: (inputs, None), "example_input": inputs}
    engine = pruner(model, {**recipe, "schedule": {"one-shot": {"final_sparsity": 0.3}}}, **options)
    engine.epoch_end(loss=1.0, accuracy=0.5)
    rows = engine.masks["2.weight"].any(1)
    assert 0 < rows.sum() < 12
    assert expected[rows].min() >= expected[~rows].max()


@pytest.mark.parametrize("variant", ["full", "lower-bound", "local"])
def test_frozen_layers_are_as_sensitive_as_others(variant):
    model = small_net()
    expected = sensitivity(model, probe(small_net), variant=variant)[0]
    found = sensitivity(model.requires_grad_(False), probe(small_net), variant=variant)[0]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) and value.any() for name, value in expected.items())
    assert not any(parameter.requires_grad for parameter in model.parameters())
