"""Which steps of a graph act on each unit alone, so that a constant can be followed through them."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

MODULES = frozenset({
    nn.Identity, nn.Dropout, nn.AlphaDropout, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU,
    nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh,
    nn.Softplus, nn.Softsign, nn.Tanhshrink, nn.Hardshrink, nn.Softshrink, nn.Threshold,
})  # fmt: skip
FUNCTIONS = frozenset({
    F.dropout, F.relu, F.relu_, F.relu6, F.leaky_relu, F.leaky_relu_, F.elu, F.elu_, F.selu, F.selu_, F.celu,
    F.celu_, F.gelu, F.silu, F.mish, F.tanh, F.sigmoid, F.logsigmoid, F.hardswish, F.hardsigmoid, F.hardtanh,
    F.hardtanh_, F.softplus, F.softsign, F.tanhshrink, F.hardshrink, F.softshrink, F.threshold, torch.relu,
    torch.relu_, torch.selu, torch.celu, torch.tanh, torch.sigmoid,
})  # fmt: skip
METHODS = frozenset({"relu", "relu_", "tanh", "tanh_", "sigmoid", "sigmoid_", "contiguous", "clone"})


def elementwise(node: fx.Node, modules: dict[str, nn.Module], *, certain: bool) -> bool:
    """Whether ``node`` maps each entry of its input alone; ``certain``: always alike, no dropout at work."""
    if len(node.all_input_nodes) != 1:
        return False
    if node.op == "call_module":
        module = modules[node.target]
        hooked = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
        return type(module) in MODULES and not hooked
    if node.op == "call_function":
        at_work = node.target is F.dropout and node.kwargs.get("training") is not False
        return node.target in FUNCTIONS and not (certain and at_work)
    return node.op == "call_method" and node.target in METHODS


def follow(value: Tensor, steps: tuple[fx.Node, ...], modules: dict[str, nn.Module]) -> Tensor:
    """What the steps make of ``value`` (any shape), by the model's own functions; ``value`` is kept."""
    value = value.clone()
    for node in steps:
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda _, value=value: value)
        if node.op == "call_module":
            value = modules[node.target](*args, **kwargs)
        elif node.op == "call_function":
            value = node.target(*args, **kwargs)
        else:
            value = getattr(args[0], node.target)(*args[1:], **kwargs)
    return value
