"""A network that removal made smaller, in every format: layers that add constants, read and compute a part of their channels."""

from __future__ import annotations

import pytest
import torch
from removal.zeroed import zeroed
from torch import Tensor, nn
from torch.nn import functional as F

from prune_search.cost import cost_of
from prune_search.export.formats import FORMATS
from prune_search.export.network import export_network
from prune_search.removal import remove

from .networks import INFO, VALIDATION


class Wide(nn.Module):
    """A residual block of 64 channels behind a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        conv = lambda i, o, **more: nn.Conv2d(i, o, 3, padding=1, bias=False, **more)
        self.stem, self.norm0 = conv(1, 64), nn.BatchNorm2d(64)
        self.a, self.norm1 = conv(64, 64, groups=64), nn.BatchNorm2d(64)
        self.b, self.norm2 = conv(64, 64), nn.BatchNorm2d(64)
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm0(self.stem(x)))
        x = F.relu(x + self.norm2(self.b(F.relu(self.norm1(self.a(x))))))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = zeroed(Wide(), 0.5)
    small = remove(model, VALIDATION[0][:2], fold_batchnorm=False)
    names = {name.rpartition(".")[2] for name in small.state_dict()}
    assert names >= {"takes", "places", "constant_rows", "constant_map", "only_maps"}
    return model, small


def test_every_format_answers_alike_and_is_smaller(pair, tmp_path) -> None:
    example = VALIDATION[0][:1]
    options = {"example_input": example, "validation": VALIDATION, "info": INFO}
    dense, small = (
        export_network(network, out=tmp_path / name, formats=formats, **options)
        for name, network, formats in (("dense", pair[0], ["safetensors"]), ("small", pair[1], list(FORMATS)))
    )
    assert set(small.verdicts) == set(FORMATS)  # each was judged against the network's own answers
    assert small.sizes["model.safetensors"] < 0.8 * dense.sizes["model.safetensors"]
    costs = [cost_of(network, example) for network in pair]
    assert costs[1].physical_macs < 0.8 * costs[0].physical_macs
