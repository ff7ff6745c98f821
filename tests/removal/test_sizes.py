"""What a network costs once its channels are gone: the cost numbers of the page on activation density."""

import pytest
import torch
from torch import nn

from prune_search.cost import cost_of
from prune_search.removal import apply, dead_units
from prune_search.zoo.models import build_model

FIRST = (38, 35, 64, 64, 115, 102, 102, 90, 154, 128, 102, 102, 77, 77, 77, 102)
SECOND = (30, 26, 45, 45, 81, 71, 71, 59, 92, 77, 51, 51, 39, 39, 39, 61)
VGG_19 = (64, 64, 128, 128, *(256,) * 4, *(512,) * 8)


@torch.no_grad()
def left(name, widths):
    """Parameters and MACs of a network whose convolutions keep so many of their filters: (name, filters)."""
    model = build_model(name, input_shape=(3, 32, 32), num_classes=10, seed=0)
    modules, x = dict(model.named_modules()), torch.zeros(1, 3, 32, 32)
    for layer, width in widths(model):
        modules[layer].weight[width:] = 0
    apply(model, dead_units(model, x))
    cost = cost_of(model, x)
    return cost.physical_params, cost.physical_macs


def convolutions(widths):
    def each(model):
        return zip((n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), widths, strict=True)

    return each


@pytest.mark.parametrize(
    ("widths", "params", "macs"),
    [
        ([width // 2 for width in VGG_19], 5_013_226, 99_977_728),
        (FIRST, 1_183_356, 59_388_276),
        (SECOND, 444_643, 29_116_906),
    ],
)
def test_4_vgg_19(widths, params, macs):
    assert left("vgg-19", convolutions(widths)) == (params, macs)


def test_4_resnet_18_with_blocks_half_as_wide_inside():
    def inside(model):
        blocks = [(n, m) for n, m in model.named_modules() if n.endswith("conv1") and "." in n]
        return [(name, len(conv.weight) // 2) for name, conv in blocks]

    assert left("resnet-18-cifar", inside) == (5_679_306, 281_744_384)
