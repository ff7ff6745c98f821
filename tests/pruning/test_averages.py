"""Running averages of weights shrink with their model, and learning-rate schedules go on."""

import copy

import pytest
import torch
from pruning.nets import conv_net, pruner, small_net
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from prune_search.pruning.averages import Averages
from prune_search.removal import apply, dead_units


def shapes(model):
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def drifted(model):
    """An average that is no longer the model."""
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    average.update_parameters(model)  # the first copies
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    average.update_parameters(model)
    return average


@pytest.mark.parametrize("net", [small_net, conv_net])
def test_an_average_keeps_its_answers(net):
    """With its own constants: the biases of dead units differ from the model's."""
    model = net().eval()
    average, x = drifted(model), torch.randn(4, *net.input_shape)
    mask = torch.ones_like(model[0].weight, dtype=torch.bool)
    mask[:2] = False  # a whole group of the grouped convolution
    with torch.no_grad():
        model[0].weight.mul_(mask)
    averages = Averages([average])
    averages.mask({"0.weight": mask})
    expected = average.eval()(x)
    plan = dead_units(model, x)
    averages.cut(plan, x)
    assert torch.allclose(average(x), expected, atol=1e-5)
    assert not torch.allclose(expected, model(x), atol=1e-2)
    apply(model, plan)
    assert shapes(average.module) == shapes(model) and len(model[0].weight) < len(mask)


@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_averaging_and_the_schedule_go_on_after_an_event(granularity):
    model, inputs = small_net(), torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    average = copy.deepcopy(model)
    recipe = {"preset": "magnitude", "granularity": granularity, "dense_epochs": 1, "removal": "at-events"}
    recipe |= {"schedule": {"one-shot": {"final_sparsity": 0.8}}, "distribution": "uniform"}
    engine = pruner(model, recipe, 6, optimizer, example_input=inputs, averages=[average])
    engine.epoch_end(loss=1.0, accuracy=0.5)
    assert shapes(average) == shapes(model) and len(model[0].weight) < 16
    before = copy.deepcopy(model.state_dict())
    F.cross_entropy(model(inputs), torch.arange(8) % 4).backward()
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.025
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 0.5)
    for name, value in average.named_parameters():
        assert torch.allclose(value, (before[name] + dict(model.named_parameters())[name]) / 2, atol=1e-6)
        assert name not in engine.masks or (value[~engine.masks[name]] == 0).all()
