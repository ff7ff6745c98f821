"""The model as a torch.fx graph, and what stands in the way of changing its modules."""

from __future__ import annotations

import copy
from collections import Counter

from torch import fx, nn

from prune_search.removal.adapted import NORMS, Adapted


class Tracer(fx.Tracer):
    """As torch.fx traces, with adapted layers and whatever is derived from a batch norm as one step."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, (Adapted, *NORMS)) or super().is_leaf_module(module, name)


def skeleton(model: nn.Module, *, training: bool) -> nn.Module:
    """A copy of the model that shares its parameters. Its own code may write into buffers while it is traced or run, as spectral
    norm does: tracing leaves no mark on the model.
    """
    shared = {id(parameter): parameter for parameter in model.parameters()}
    return copy.deepcopy(model, shared).train(training)


def trace(model: nn.Module) -> fx.Graph:
    """Symbolic trace of ``model`` in the mode it is in.

    Raises:
        Exception: Whatever torch.fx or the model's own code raises where it cannot be traced.
    """
    for name, module in model.named_modules():
        if name and not Tracer().is_leaf_module(module, name) and _hooked(module):
            raise ValueError(f"'{name}' has a forward hook")
    return Tracer().trace(model)


def obstacles(model: nn.Module, graph: fx.Graph) -> dict[str, str]:
    """For each module that must stay as it is, by name: why."""
    modules = dict(model.named_modules(remove_duplicate=False))
    owners = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    calls = Counter(id(modules[node.target]) for node in graph.nodes if node.op == "call_module")
    read = {node.target.rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    found = {}
    for name, module in modules.items():
        if _hooked(module):
            found[name] = "it has a forward hook"
        elif "forward" in vars(module):
            found[name] = "its forward was replaced"
        elif any(owners[id(p)] > 1 for p in module.parameters(recurse=False)):
            found[name] = "it shares a parameter with another module"
        elif name in read:
            found[name] = "its parameters are also used outside of it"
        elif next(module.parameters(recurse=False), None) is None:
            continue
        elif calls[id(module)] > 1:
            found[name] = f"it is called {calls[id(module)]} times"
        elif calls[id(module)] == 0:
            found[name] = "it is not called"
    return found


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
