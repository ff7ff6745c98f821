"""Functions that map each entry of one tensor alone."""

from __future__ import annotations

import torch
from torch import fx, nn
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

_PASSING = frozenset({nn.Identity, nn.Dropout, nn.AlphaDropout, F.dropout, "contiguous", "clone"})
_WITH_ZEROS = frozenset({
    nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Hardshrink, nn.Softshrink, nn.Threshold,
    F.relu, F.relu_, F.relu6, F.hardswish, F.hardsigmoid, F.hardtanh, F.hardtanh_, F.hardshrink, F.softshrink,
    F.threshold, torch.relu, torch.relu_, "relu", "relu_",
})  # fmt: skip


def is_activation(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether a step is one of the functions above that changes values; ``module``: what it calls, if it is one."""
    what = node.target if module is None else type(module)
    return what not in _PASSING and (what in MODULES or what in FUNCTIONS or what in METHODS)


def gives_zeros(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether an activation gives exact zeros for a range of inputs."""
    return (node.target if module is None else type(module)) in _WITH_ZEROS
