"""The built-in names, without torch. Every torchvision name and ``package.module:function`` work too."""

from __future__ import annotations

from collections.abc import Iterable

DATASETS = ("digits", "MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "folder")
MODELS = (
    "lenet-300-100",
    "lenet-5",
    "mlp-1000",
    "resnet-20",
    "resnet-32",
    "resnet-56",
    "vgg-11",
    "vgg-16",
    "vgg-19",
    "resnet-18-cifar",
)
AUGMENTATIONS = ("none", "flip", "crop", "crop+flip")


def canonical(name: str, names: Iterable[str]) -> str | None:
    """The spelling of ``name`` in ``names``, whatever its case (``mnist`` is ``MNIST``); None if absent."""
    return next((known for known in names if known.lower() == name.lower()), None)
