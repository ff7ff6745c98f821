"""lenet-5 as in Caffe's MNIST example: 431 080 parameters for 1x28x28 and ten classes."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from prune_search.zoo.networks.shared import image_channels


def lenet_5(input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """conv 20 5x5, pool, conv 50 5x5, pool, fc 500, ReLU, fc; images from 16x16 on. PyTorch's initialisation.

    A ReLU follows each convolution; Caffe's example has one after fc1 only.
    """
    channels = image_channels("lenet-5", input_shape, smallest=16)
    height, width = (((side - 4) // 2 - 4) // 2 for side in input_shape[1:])
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 20, 5),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(20, 50, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(50 * height * width, 500),
            relu3=nn.ReLU(),
            fc2=nn.Linear(500, num_classes),
        )
    )
