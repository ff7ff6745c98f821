"""VGG with batch norm for small images: one linear layer behind a global average pool (Liu et al. 2019)."""

from __future__ import annotations

from torch import Tensor, nn

from prune_search.zoo.networks.shared import conv3x3, image_channels, initialise

_POOL = 0
_WIDTHS = {
    11: (64, _POOL, 128, _POOL, 256, 256, _POOL, 512, 512, _POOL, 512, 512),
    16: (64, 64, _POOL, 128, 128, _POOL, *(256,) * 3, _POOL, *(512,) * 3, _POOL, *(512,) * 3),
    19: (64, 64, _POOL, 128, 128, _POOL, *(256,) * 4, _POOL, *(512,) * 4, _POOL, *(512,) * 4),
}


class VGG(nn.Module):
    """``features`` (conv, batch norm, ReLU; four max-pools), ``pool``, ``flatten``, ``classifier``."""

    def __init__(self, channels: int, num_classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in widths:
            if width == _POOL:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [conv3x3(channels, width), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.pool(self.features(x))))


def vgg(input_shape: tuple[int, ...], num_classes: int, depth: int) -> nn.Module:
    """VGG-11, VGG-16 or VGG-19 for images of at least 16x16; VGG-19 has 20 035 018 parameters (RGB, ten classes)."""
    channels = image_channels(f"vgg-{depth}", input_shape, smallest=16)
    return initialise(VGG(channels, num_classes, _WIDTHS[depth]))
