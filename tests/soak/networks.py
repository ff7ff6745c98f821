"""Networks of a user's that nobody thought of: blocks put together at random, the same for the same seed."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Hardswish, nn.Tanh)


class Sum(nn.Module):
    """What a block gives, and its input."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class Beside(nn.Module):
    """The outputs of two blocks side by side."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.left(x), self.right(x)], 1)


class Gate(nn.Module):
    """Squeeze and excite."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(width, max(1, width // 2)), nn.Linear(max(1, width // 2), width)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()[:, :, None, None]


class Shuffled(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def _convolution(draw: random.Random, width: int, out: int) -> nn.Module:
    kernel = draw.choice((1, 3, 3, 5))
    layers = [nn.Conv2d(width, out, kernel, padding=kernel // 2, bias=draw.random() < 0.5)]
    norm = draw.choice((nn.BatchNorm2d, nn.BatchNorm2d, lambda n: nn.GroupNorm(draw.choice((1, 2, 4)), n), None))
    layers += [norm(out)] if norm else []
    return nn.Sequential(*layers, draw.choice(ACTIVATIONS)())


def _block(draw: random.Random, width: int) -> tuple[nn.Module, int]:
    out = draw.choice((8, 12, 16, 24))
    kind = draw.randrange(8)
    if kind == 0:
        return Sum(nn.Sequential(_convolution(draw, width, out), _convolution(draw, out, width))), width
    if kind == 1:
        return Beside(_convolution(draw, width, out), _convolution(draw, width, 8)), out + 8
    if kind == 2:
        return Gate(width), width
    if kind == 3:
        return nn.Sequential(nn.Conv2d(width, width, 3, padding=1, groups=width), _convolution(draw, width, out)), out
    if kind == 4:
        return nn.Sequential(nn.Conv2d(width, width, 1, groups=4), Shuffled(4), nn.BatchNorm2d(width)), width
    if kind == 5:
        return nn.Dropout2d(0.1), width
    return _convolution(draw, width, out), out


class Network(nn.Module):
    def __init__(self, seed: int, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        channels, height, wide = input_shape
        self.flat = draw.random() < 0.35
        blocks: list[nn.Module] = []
        width = 8
        if self.flat:
            width = channels * height * wide
        else:
            blocks.append(_convolution(draw, channels, width))
            for _ in range(draw.randrange(1, 5)):
                block, width = _block(draw, width)
                blocks.append(block)
                if draw.random() < 0.3 and height >= 4:
                    blocks.append(draw.choice((nn.MaxPool2d, nn.AvgPool2d))(2))
                    height, wide = height // 2, wide // 2
        self.body, self.pooled = nn.Sequential(*blocks), draw.random() < 0.6
        width = width if self.flat or self.pooled else width * height * wide
        head: list[nn.Module] = []
        for _ in range(draw.randrange(3)):
            out = draw.choice((16, 32, 48))
            head += [
                nn.Linear(width, out),
                draw.choice((nn.Identity, lambda n=out: nn.BatchNorm1d(n), lambda n=out: nn.LayerNorm(n)))(),
            ]
            head += [draw.choice(ACTIVATIONS)()]
            width = out
        self.head = nn.Sequential(*head)
        self.repeated = nn.Linear(width, width) if draw.random() < 0.2 else None
        self.scale = nn.Parameter(torch.tensor(1.0)) if draw.random() < 0.2 else None
        self.last = nn.Linear(width, classes)
        if draw.random() < 0.15 and head:
            head[0].requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        x = self.head(x.mean((2, 3)) if self.pooled and not self.flat else x.flatten(1))
        if self.repeated is not None:
            x = self.repeated(self.repeated(x).relu())
        return self.last(x if self.scale is None else x * self.scale)


def build(seed: int, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return Network(seed, tuple(input_shape), num_classes)
