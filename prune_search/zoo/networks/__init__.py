"""Built-in networks, one file per family. Each can be traced by torch.fx and exported by torch.export."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from prune_search.zoo.networks.lenet import lenet_5
from prune_search.zoo.networks.mlp import mlp
from prune_search.zoo.networks.resnet import cifar_resnet, resnet_18
from prune_search.zoo.networks.vgg import vgg

BUILDERS: dict[str, Callable[[tuple[int, ...], int], nn.Module]] = {
    "lenet-300-100": lambda input_shape, num_classes: mlp(input_shape, num_classes, (300, 100)),
    "lenet-5": lenet_5,
    "mlp-1000": lambda input_shape, num_classes: mlp(input_shape, num_classes, (1000, 1000, 1000)),
    "resnet-20": lambda input_shape, num_classes: cifar_resnet(input_shape, num_classes, 20),
    "resnet-32": lambda input_shape, num_classes: cifar_resnet(input_shape, num_classes, 32),
    "resnet-56": lambda input_shape, num_classes: cifar_resnet(input_shape, num_classes, 56),
    "vgg-11": lambda input_shape, num_classes: vgg(input_shape, num_classes, 11),
    "vgg-16": lambda input_shape, num_classes: vgg(input_shape, num_classes, 16),
    "vgg-19": lambda input_shape, num_classes: vgg(input_shape, num_classes, 19),
    "resnet-18-cifar": resnet_18,
}
