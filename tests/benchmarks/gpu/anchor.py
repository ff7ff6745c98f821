"""A network as small as those of the public CIFAR-10 speed runs, for ``tests.benchmarks.gpu.life``.

    python -m tests.benchmarks.gpu.life --archive cifar10-jpeg.tar.gz --model tests.benchmarks.gpu.anchor:build --preset dense \\
        --images 45000 --epochs 10 --batch 1024 --lr 0.4

Three stages of 64, 256 and 256 channels, each halving and then convolving twice, behind a stem of 2x2 patches: the sizes of the nets
that reach 94 % in 2.6 s of an A100 (K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, and its repository), without
their whitening, their initialisation, their test-time flips and their optimizer. What it shows is our loop on a net of that size.
"""

from __future__ import annotations

from torch import nn

WIDTHS = (64, 256, 256)
STEM = 24


def _stage(before: int, after: int) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(after),
        nn.GELU(),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.GELU(),
    ]


def build(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(input_shape[0], STEM, 2), nn.GELU()]
    for before, after in zip((STEM, *WIDTHS), WIDTHS):
        layers += _stage(before, after)
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], num_classes))
