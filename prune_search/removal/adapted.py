"""Layers that say more than a Conv or Linear can: constants of cut inputs, and channels they do not compute."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from prune_search.removal.errors import RemovalError

INDICES = ("takes", "places")
SIZE = "only_maps"
CONSTANTS = ("constant_kernel", "constant_map", "constant_rows")


class Adapted:
    """A Conv or Linear with some of these.

    Attributes:
        takes: int64 [I], the channels of the input that it reads.
        constant_kernel: [O, 1, *kernel], runs over ones: what constants gave that were cut from the input. They meet
            fewer of its entries where it hangs over the zero padding.
        constant_map: [1, O, ...], the same for constants that are not even; ties the layer to one input size.
        constant_rows: [U - O], values of channels that are not computed.
        only_maps: [0, *size], empty; its shape is that of the only maps it takes, since constants that were cut hold for no others.
        places: int64 [U], where among the computed and the constant channels each one of the output is.
    """

    axis = 1

    def forward(self, value: Tensor) -> Tensor:
        if hasattr(self, SIZE) and not isinstance(value, fx.Proxy) and value.shape[2:] != self.only_maps.shape[1:]:
            sizes = ("x".join(map(str, shape)) for shape in (self.only_maps.shape[1:], value.shape[2:]))
            raise RemovalError(
                "This network was removed for maps of {} here, but got {}. Remove it again with an example input "
                "of the size that it shall take.".format(*sizes)
            )
        if hasattr(self, "takes"):
            value = value.index_select(self.axis, self.takes)
        result = super().forward(value)
        if hasattr(self, "constant_kernel"):
            ones = torch.ones_like(value.narrow(0, 0, 1).narrow(1, 0, 1))
            result = result + self.convolution(
                ones, self.constant_kernel, None, self.stride, self.padding, self.dilation
            )
        if hasattr(self, "constant_map"):
            result = result + self.constant_map
        if hasattr(self, "places"):
            rows = self.constant_rows.view(-1, *[1] * len(getattr(self, "kernel_size", ())))
            others = torch.zeros_like(result.narrow(self.axis, 0, 1)) + rows
            result = torch.cat([result, others], self.axis).index_select(self.axis, self.places)
        return result


class AdaptedConv1d(Adapted, nn.Conv1d):
    convolution = staticmethod(F.conv1d)


class AdaptedConv2d(Adapted, nn.Conv2d):
    convolution = staticmethod(F.conv2d)


class AdaptedConv3d(Adapted, nn.Conv3d):
    convolution = staticmethod(F.conv3d)


class AdaptedLinear(Adapted, nn.Linear):
    axis = -1


CLASSES = {nn.Conv1d: AdaptedConv1d, nn.Conv2d: AdaptedConv2d, nn.Conv3d: AdaptedConv3d, nn.Linear: AdaptedLinear}
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
ADAPTABLE = (*CLASSES, *CLASSES.values())


def adapt(module: nn.Module, name: str, value: Tensor) -> None:
    """Give a Conv or Linear one of the attributes of :class:`Adapted`, in place; not trained."""
    module.__class__ = CLASSES.get(type(module), type(module))
    if name in (*INDICES, SIZE):
        module.register_buffer(name, value.to(module.weight.device, torch.int64))
    else:
        module.register_parameter(name, nn.Parameter(value.to(module.weight), requires_grad=False))


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The model's parameters without the constants of adapted layers: what an optimizer holds."""
    return [value for name, value in model.named_parameters() if name.rpartition(".")[2] not in CONSTANTS]


def narrowed(module: nn.Module) -> bool:
    """Whether it reads or computes a part of its channels only."""
    return any(hasattr(module, name) for name in INDICES)


def refresh(module: nn.Module, old: torch.Size) -> None:
    """Set a layer's own widths to those of its tensors; ``old`` is the shape its weight had."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        if module.groups > 1:
            module.groups = len(module.weight) // (old[0] // module.groups)
        module.out_channels, module.in_channels = len(module.weight), module.weight.shape[1] * module.groups
    elif isinstance(module, NORMS):
        module.num_features = len(module.weight)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = len(module.weight)
