"""What the convolutional families share."""

from __future__ import annotations

from torch import nn

from prune_search.errors import UserError


def image_channels(name: str, input_shape: tuple[int, ...], smallest: int = 1) -> int:
    """Channels of images [C, H, W].

    Raises:
        UserError: the inputs are no images, or an image side is below ``smallest`` pixels.
    """
    if len(input_shape) != 3:
        raise UserError(
            f"model {name} takes images [C, H, W]; the data gives {list(input_shape)}. Use lenet-300-100, "
            "mlp-1000 or a model of your own."
        )
    if min(input_shape[1:]) < smallest:
        raise UserError(
            f"model {name} needs images of {smallest}x{smallest} pixels or more; the data gives "
            f"{list(input_shape)}. Use lenet-300-100, mlp-1000 or resnet-20."
        )
    return input_shape[0]


def conv3x3(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, padding=1, bias=False)


def initialise(model: nn.Module) -> nn.Module:
    """Kaiming-normal convolutions (He et al. 2015; fan out, as in torchvision); the rest as PyTorch does."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model
