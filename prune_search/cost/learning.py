"""What the gradients of weights cost, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from prune_search.cost.layers import evaluating, weight_of

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm)
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def weight_gradient_flops(
    model: nn.Module, example_input: torch.Tensor, frozen: Mapping[str, float] | None = None
) -> float:
    """FLOP of the weight gradients for one input, as NEq counts them (Bragagnolo et al. 2022, authors' code).

    2 x multiply-accumulates of a Conv or Linear, biases not counted; 4 x entries of the output of a batch or layer norm.
    Cifar ResNet-32 with option A shortcuts: 138 937 600. A training step has about three passes of this size.

    Args:
        model: Left untouched.
        example_input: [N, ...]; only its first entry is used.
        frozen: Weight -> share of its rows whose gradient is left out.
    """
    operations: dict[str, float] = {}
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def hook(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            if isinstance(module, _NORMS):
                count = 2 * output.numel()
            else:
                channels = (
                    output.shape[-1 - len(module.kernel_size)] if isinstance(module, _CONVS) else output.shape[-1]
                )
                count = module.weight.numel() * (output.numel() // channels)
            operations[name] = operations.get(name, 0) + count

        handles.append(module.register_forward_hook(hook))

    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, *_CONVS, *_NORMS)):
            watch(weight_of(name), module)
    try:
        with evaluating(model), torch.no_grad():
            model(example_input[:1])
    finally:
        for handle in handles:
            handle.remove()
    return sum(2 * count * (1 - (frozen or {}).get(name, 0.0)) for name, count in operations.items())
