"""Residual networks for small images: He et al. 2016, section 4.2, and ResNet-18 with a 3x3 stem."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import pad

from prune_search.zoo.networks.shared import conv3x3, image_channels, initialise


class PadShortcut(nn.Module):
    """Option A: every ``stride``-th pixel, then zero channels behind the others. No parameters."""

    def __init__(self, extra: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = extra, stride

    def forward(self, x: Tensor) -> Tensor:
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def projection(before: int, after: int, stride: int) -> nn.Module:
    """Option B: 1x1 convolution and batch norm."""
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


def padding(before: int, after: int, stride: int) -> nn.Module:
    return PadShortcut(after - before, stride)


class BasicBlock(nn.Module):
    """conv, batch norm, ReLU, conv, batch norm, plus the shortcut, ReLU."""

    def __init__(self, before: int, after: int, stride: int, shortcut: Callable[[int, int, int], nn.Module]) -> None:
        super().__init__()
        self.conv1 = conv3x3(before, after, stride)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(after, after)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Identity() if (before, stride) == (after, 1) else shortcut(before, after, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(out + self.shortcut(x))


class ResNet(nn.Module):
    """``conv1``, ``bn1``, ``relu``, ``layers`` (a stage for each width, halving), ``pool``, ``fc``."""

    def __init__(
        self,
        channels: int,
        num_classes: int,
        widths: tuple[int, ...],
        blocks: int,
        shortcut: Callable[[int, int, int], nn.Module],
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, widths[0])
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        stages = []
        for index, width in enumerate(widths):
            before = widths[max(index - 1, 0)]
            first = BasicBlock(before, width, 1 if index == 0 else 2, shortcut)
            stages.append(nn.Sequential(first, *(BasicBlock(width, width, 1, shortcut) for _ in range(blocks - 1))))
        self.layers = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.relu(self.bn1(self.conv1(x))))
        return self.fc(self.flatten(self.pool(x)))


def cifar_resnet(input_shape: tuple[int, ...], num_classes: int, depth: int) -> nn.Module:
    """Depth 6n+2, option A shortcuts; ResNet-20 has 269 722 parameters (RGB, ten classes)."""
    channels = image_channels(f"resnet-{depth}", input_shape)
    return initialise(ResNet(channels, num_classes, (16, 32, 64), (depth - 2) // 6, padding))


def resnet_18(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """ResNet-18 with a 3x3 stem and no max-pool: 11 173 962 parameters (RGB, ten classes)."""
    channels = image_channels("resnet-18-cifar", input_shape)
    return initialise(ResNet(channels, num_classes, (64, 128, 256, 512), 2, projection))
