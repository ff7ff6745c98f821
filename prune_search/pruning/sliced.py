"""Layers whose weight gradient is computed for some of their rows only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(value: Tensor, weight: Tensor, bias: Tensor | None, active: Tensor) -> Tensor:
        return F.linear(value, weight, bias)

    @staticmethod
    def setup_context(context: Any, inputs: tuple, output: Tensor) -> None:
        value, weight, bias, active = inputs
        context.save_for_backward(value, weight, active)
        context.has_bias = bias is not None

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        value, weight, active = context.saved_tensors
        back = gradient @ weight if context.needs_input_grad[0] else None
        rows = gradient.flatten(0, -2).index_select(1, active)
        return back, *_placed(weight, active, rows.T @ value.flatten(0, -2), rows, context.has_bias), None


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(value: Tensor, weight: Tensor, bias: Tensor | None, active: Tensor, options: tuple) -> Tensor:
        stride, padding, dilation, groups = options
        return torch.convolution(value, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)

    @staticmethod
    def setup_context(context: Any, inputs: tuple, output: Tensor) -> None:
        value, weight, bias, active, options = inputs
        context.save_for_backward(value, weight, active)
        context.has_bias, context.options = bias is not None, options

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        value, weight, active = context.saved_tensors
        stride, padding, dilation, groups = context.options
        convolve = lambda gradient, value, weight, groups, wanted: torch.ops.aten.convolution_backward(
            gradient, value, weight, None, stride, padding, dilation, False, [0] * len(stride), groups, wanted
        )
        back = None
        if context.needs_input_grad[0]:
            back = convolve(gradient, value, weight, groups, [True, False, False])[0]
        rows = gradient.index_select(1, active)
        if groups > 1:  # depthwise: one input channel for each row
            value = value.index_select(1, active)
        found = convolve(
            rows, value, weight.index_select(0, active), len(active) if groups > 1 else 1, [False, True, False]
        )[1]
        return back, *_placed(weight, active, found, rows.movedim(1, -1).flatten(0, -2), context.has_bias), None, None


def _placed(weight: Tensor, active: Tensor, found: Tensor, rows: Tensor, bias: bool) -> tuple[Tensor, Tensor | None]:
    """Gradients of weight and bias in full, zero but for the active rows; ``rows``: [positions, active]."""
    full = torch.zeros_like(weight).index_copy_(0, active, found)
    return full, weight.new_zeros(len(weight)).index_copy_(0, active, rows.sum(0)) if bias else None


class Sliced:
    """A Conv or Linear with ``active``, int64 [A]: the rows, one at least, whose gradient is computed."""

    active: Tensor

    def _tensors(self, value: Tensor) -> tuple[Tensor, ...]:
        tensors = (value, self.weight, self.bias)
        device = value.device.type
        if torch.is_autocast_enabled(device):  # outside of the function, so that gradients arrive in full precision
            dtype = torch.get_autocast_dtype(device)
            tensors = tuple(None if tensor is None else tensor.to(dtype) for tensor in tensors)
        return *tensors, self.active


class SlicedLinear(Sliced, nn.Linear):
    def forward(self, value: Tensor) -> Tensor:
        return _Linear.apply(*self._tensors(value))


class _SlicedConv(Sliced):
    def forward(self, value: Tensor) -> Tensor:
        options = (self.stride, self.padding, self.dilation, self.groups)
        return _Conv.apply(*self._tensors(value), options)


class SlicedConv1d(_SlicedConv, nn.Conv1d): ...


class SlicedConv2d(_SlicedConv, nn.Conv2d): ...


class SlicedConv3d(_SlicedConv, nn.Conv3d): ...


_CLASSES = {nn.Linear: SlicedLinear, nn.Conv1d: SlicedConv1d, nn.Conv2d: SlicedConv2d, nn.Conv3d: SlicedConv3d}
_PLAIN = {sliced: plain for plain, sliced in _CLASSES.items()}


def sliceable(module: nn.Module) -> bool:
    """Whether its weight gradient can be computed by rows: no groups but depthwise, zero padding given in numbers."""
    if type(module) not in _CLASSES or isinstance(module, nn.Linear):
        return type(module) in _CLASSES
    depthwise = module.groups == module.in_channels == module.out_channels
    return (module.groups == 1 or depthwise) and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def slice_gradient(module: nn.Module, active: Tensor) -> None:
    """Compute the gradient of the rows ``active`` only from now on, in place; parameters and answers are the same."""
    module.__class__ = _CLASSES[type(module)]
    object.__setattr__(module, "active", active)


def unslice_gradient(module: nn.Module) -> None:
    """Undo :func:`slice_gradient`."""
    if type(module) in _PLAIN:
        module.__class__ = _PLAIN[type(module)]
        object.__delattr__(module, "active")
