"""Which layers carry the weights that count, and how often each weight is used per input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
PRUNABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


def prunable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Linear and (transposed) Conv layers whose ``weight`` is a parameter, by name, in the model's order.

    A weight that several modules share appears once, under its first name.
    """
    layers, seen = {}, set()
    for name, module in model.named_modules():
        if _prunable(module) and id(module.weight) not in seen:
            seen.add(id(module.weight))
            layers[name] = module
    return layers


def owns_weight(module: nn.Module) -> bool:
    """Whether ``weight`` is a parameter of the module, and not computed whenever it is read, as torch's parametrizations do."""
    return "weight" in dict(module.named_parameters(recurse=False, remove_duplicate=False))


def weight_of(layer: str) -> str:
    """Name of the weight of the layer with this name; that of the model itself is ""."""
    return f"{layer}.weight" if layer else "weight"


def trace_positions(model: nn.Module, example_input: torch.Tensor) -> dict[str, int]:
    """How often each layer's weights are used for one input, found by one eval forward pass of one input.

    For Conv the spatial output positions, for transposed Conv the spatial input positions, for Linear the
    positions in front of the features ([N, T, C]: T). Calls add up, also those of modules that share a
    weight; a layer that eval mode never calls has 0. ``nn.MultiheadAttention`` uses its weights directly: its
    name stands for the input projections (self-attention assumed) and ``<name>.out_proj`` for the output's.

    The model is left as it was: hooks removed, every training flag restored, random states untouched.

    Args:
        model: Any module that takes one tensor.
        example_input: [N, ...] on the model's device; only its first entry is used, so N does not matter.
    """
    names = {id(layer.weight): name for name, layer in prunable_layers(model).items()}
    positions = dict.fromkeys(names.values(), 0)
    handles = []

    def watch(module: nn.Module, keys: list[str]) -> None:
        def hook(module: nn.Module, inputs: tuple, kwargs: dict, output: object) -> None:
            uses = _uses(module, inputs[0] if inputs else next(iter(kwargs.values())), output)
            for key in keys:
                positions[key] += uses

        handles.append(module.register_forward_hook(hook, with_kwargs=True))

    for name, module in model.named_modules():
        if _prunable(module):
            watch(module, [names[id(module.weight)]])
        elif isinstance(module, nn.MultiheadAttention):
            positions[name] = 0
            watch(module, [name, f"{name}.out_proj" if name else "out_proj"])
    devices = [example_input.device] if example_input.is_cuda else []
    try:
        with evaluating(model), torch.no_grad(), torch.random.fork_rng(devices=devices):
            model(example_input[:1])
    finally:
        for handle in handles:
            handle.remove()
    return positions


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; each module's own training flag again afterwards."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


def _prunable(module: nn.Module) -> bool:
    return isinstance(module, PRUNABLE) and owns_weight(module)


def _uses(module: nn.Module, value: torch.Tensor, output: object) -> int:
    if isinstance(module, nn.Linear):
        return output.numel() // output.shape[-1]
    if isinstance(module, nn.MultiheadAttention):
        return value.numel() // module.embed_dim
    if isinstance(module, TRANSPOSED):
        return value.numel() // module.in_channels
    return output.numel() // output.shape[-1 - len(module.kernel_size)]
