"""Which weight layer feeds which."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx, nn

from prune_search.cost.layers import PRUNABLE
from prune_search.removal.graph import skeleton, trace


def layer_pairs(model: nn.Module, called: Sequence[str]) -> list[tuple[int, int]]:
    """The producer and the consumer of each pair, as places in ``called``.

    The producer of a layer is the one before it on the longest path, counted in weight layers, through the graph of the
    model (torch.fx): behind a residual block that is the block's last layer. 1x1 convolutions that are nobody's
    producer are shortcuts and left out. A chain, in execution order, where the graph cannot be traced.

    Args:
        called: Names of the Conv and Linear layers in the order of their calls, found by running the model.
    """
    chain = [(place - 1, place) for place in range(1, len(called))]
    try:
        graph = trace(skeleton(model, training=False))
    except Exception:  # whatever fx or the model's own code raises
        return chain
    names = {id(module): name for name, module in model.named_modules()}
    modules = {n: model.get_submodule(n.target) for n in graph.nodes if n.op == "call_module"}
    layers = [node for node, module in modules.items() if isinstance(module, PRUNABLE)]
    if [names[id(modules[node])] for node in layers] != list(called):
        return chain
    places = {node: place for place, node in enumerate(layers)}
    producers = _producers(graph, places)
    needed = set(producers.values())
    kept = [node for node in layers if not _pointwise(modules[node]) or places[node] in needed]
    return [(producers[node], places[node]) for node in kept if producers[node] is not None]


def _producers(graph: fx.Graph, places: dict[fx.Node, int]) -> dict[fx.Node, int | None]:
    """The place of the last layer on the longest path to each layer and to the output; None where there is none."""
    longest: dict[fx.Node, tuple[int, int]] = {}
    producers: dict[fx.Node, int | None] = {}
    for node in graph.nodes:
        depth, place = max((longest[source] for source in node.all_input_nodes), default=(0, -1))
        longest[node] = (depth + 1, places[node]) if node in places else (depth, place)
        if node in places or node.op == "output":
            producers[node] = place if depth else None
    return producers


def _pointwise(module: nn.Module) -> bool:
    return not isinstance(module, nn.Linear) and set(module.kernel_size) == {1}
