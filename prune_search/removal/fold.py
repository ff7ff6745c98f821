"""Batch norm folded into the layer before it, in place."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_weights

from prune_search.cost.layers import evaluating
from prune_search.removal.graph import obstacles, skeleton, trace

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def fold(model: nn.Module, example_input: torch.Tensor) -> tuple[str, ...]:
    """Folds each BatchNorm that alone and directly follows a Conv or Linear into it; exact in eval mode.

    Computed in float64. The norm's place is taken by ``nn.Identity``. A model that torch.fx cannot trace is
    left as it is. Returns the names of the layers that took a norm in.
    """
    try:
        view = skeleton(model, training=False)
        graph = trace(view)
    except Exception:  # the model's own code runs here
        return ()
    pairs = _pairs(view, graph)
    if any(type(view.get_submodule(layer)) is nn.Linear for layer, _ in pairs):
        pairs = _without_sequences(view, graph, pairs, example_input)
    for layer, norm in pairs:
        _fold(model.get_submodule(layer), model.get_submodule(norm))
        parent, _, child = norm.rpartition(".")
        setattr(model.get_submodule(parent), child, nn.Identity())
    return tuple(layer for layer, _ in pairs)


def _pairs(model: nn.Module, graph: fx.Graph) -> list[tuple[str, str]]:
    modules = dict(model.named_modules(remove_duplicate=False))
    whole = obstacles(model, graph)
    pairs = []
    for node in graph.nodes:
        if node.op != "call_module" or type(modules[node.target]) not in (nn.Linear, *_CONVS):
            continue
        user = next(iter(node.users), None)
        if len(node.users) != 1 or user.op != "call_module" or type(modules[user.target]) not in _NORMS:
            continue
        tracked = modules[user.target].running_var is not None
        if tracked and node.target not in whole and user.target not in whole:
            pairs.append((node.target, user.target))
    return pairs


def _without_sequences(
    model: nn.Module, graph: fx.Graph, pairs: list[tuple[str, str]], example_input: torch.Tensor
) -> list[tuple[str, str]]:
    """Leaves out Linear layers on [N, T, C], where a norm acts on T."""
    with evaluating(model):
        ShapeProp(fx.GraphModule(model, graph)).propagate(example_input[:1])
    shapes = {n.target: n.meta["tensor_meta"].shape for n in graph.nodes if n.target in dict(pairs)}
    return [p for p in pairs if type(model.get_submodule(p[0])) is not nn.Linear or len(shapes[p[0]]) == 2]


def _fold(layer: nn.Module, norm: nn.Module) -> None:
    tensors = (layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    weight, bias, mean, var, gamma, beta = (None if t is None else t.detach().double() for t in tensors)
    weight, bias = fuse_conv_bn_weights(weight, bias, mean, var, norm.eps, gamma, beta)
    trained, dtype = layer.weight.requires_grad, layer.weight.dtype
    layer.weight = nn.Parameter(weight.to(dtype), trained)
    layer.bias = nn.Parameter(bias.to(dtype), trained)
