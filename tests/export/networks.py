"""A small network, data for it, and what its model card tells."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prune_search.export.card import CardInfo


class ShortcutNet(nn.Module):
    """Convolutions, batch norm, and a shortcut of option A: strided slice, zero-padded channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.block = nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Dropout(0.5))
        self.register_buffer("gain", torch.linspace(0.5, 1.5, 8).view(8, 1, 1), persistent=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        x = self.block(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        if scale is not None:
            x = x * scale
        return self.head((x * self.gain).mean((-2, -1)).view(x.size(0), -1))


def settled(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The network in train mode, with batch norm statistics other than the defaults and some zero weights."""
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(16, *shape))
        for parameter in network.parameters():
            parameter.mul_(torch.rand_like(parameter) > 0.2)
    return network


VALIDATION = (
    torch.randn(70, 1, 8, 8, generator=torch.Generator().manual_seed(1)),
    torch.randint(0, 3, (70,), generator=torch.Generator().manual_seed(2)),
)

INFO = CardInfo(
    model="tiny",
    dataset="digits",
    classes=("zero", "one", "two"),
    input_shape=(1, 8, 8),
    mean=(0.25,),
    std=(0.5,),
    recipe={"preset": "dyprune", "schedule": {"rate": {"max_rate": 0.5}}},
    metrics={
        "accuracy": 0.9375,
        "params": 400,
        "physical_params": 500,
        "physical_macs": 3000,
        "flops_reduction": 7.25,
    },
    dense={"accuracy": 0.95, "params": 12_345, "macs": 30_000},
    search="digits-2024",
    trial=17,
    trials=40,
    seed=3,
)
