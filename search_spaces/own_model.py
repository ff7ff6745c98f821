"""A user's own network and data, as `own_model.yaml` names them."""

import torch
from torch import nn


def build(input_shape, num_classes, width=64):
    """Any network of [N, *input_shape] -> [N, num_classes]; what the YAML gives beside `name` arrives as keywords."""
    layers = [nn.Flatten(), nn.Linear(input_shape[0], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, num_classes))


def two_rings():
    """Points on two rings in the plane: ((train inputs, labels), (test inputs, labels))."""
    generator = torch.Generator().manual_seed(0)
    angle = 2 * torch.pi * torch.rand(2000, generator=generator)
    label = torch.arange(2000) % 2
    radius = 1.0 + label + 0.2 * torch.randn(2000, generator=generator)
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    return (points[:1500], label[:1500]), (points[1500:], label[1500:])
