"""Finding the Linear layers whose units may be cut: they feed one other Linear, unit by unit, only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, fx, nn

from prune_search.cost.layers import prunable_layers
from prune_search.removal.activations import elementwise, follow
from prune_search.removal.graph import obstacles, skeleton, trace


@dataclass(frozen=True)
class Link:
    """``producer``'s units are ``consumer``'s inputs, through ``activation`` (of eval mode); both Linear."""

    producer: str
    consumer: str
    activation: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Chains:
    """The chains of a model, each a run of links in order of computation; why the other layers stay whole."""

    chains: tuple[tuple[Link, ...], ...]
    whole: dict[str, str]


def explain(model: nn.Module) -> list[tuple[str, str]]:
    """The Conv and Linear layers that are left whole: (layer, reason), in the model's order."""
    return list(find_chains(model).whole.items())


def find_chains(model: nn.Module) -> Chains:
    """Chains Linear -> elementwise steps -> Linear, found by torch.fx in train and in eval mode alike.

    A link holds only where both modes have it, so that a network that goes on training is served too. What fx
    cannot trace is left whole, with the reason.
    """
    layers = prunable_layers(model)
    try:
        views = [_View(skeleton(model, training=training)) for training in (True, False)]
    except Exception as error:  # the model's own code runs here
        reason = f"torch.fx cannot trace the model: {type(error).__name__}: {error}"
        return Chains((), dict.fromkeys(layers, reason))
    links, whole = {}, {}
    for name in layers:
        trained, link = (view.link(name, certain=not view.model.training) for view in views)
        reason = next((found for found in (link, trained) if isinstance(found, str)), None)
        if reason is None and trained.consumer != link.consumer:
            reason = "it feeds another layer in train mode than in eval mode"
        if reason:
            whole[name] = reason
        else:
            links[name] = link
    fed = {link.consumer for link in links.values()}
    return Chains(tuple(_run(head, links) for head in links if head not in fed), whole)


def _run(head: str, links: dict[str, Link]) -> tuple[Link, ...]:
    run = [links[head]]
    while run[-1].consumer in links:
        run.append(links[run[-1].consumer])
    return tuple(run)


class _View:
    """The model's graph in one mode."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.graph = trace(model)
        self.obstacles = obstacles(model, self.graph)
        self.nodes = {node.target: node for node in self.graph.nodes if node.op == "call_module"}

    def link(self, name: str, *, certain: bool) -> Link | str:
        """The link from layer ``name``, or why there is none. ``certain``: dropout must do nothing."""
        if type(self.modules[name]) is not nn.Linear:
            return f"it is a {type(self.modules[name]).__name__}: only chains of Linear layers are cut"
        if name in self.obstacles:
            return self.obstacles[name]
        node, steps = self.nodes[name], []
        while True:
            if len(node.users) != 1:
                return f"its output goes to {len(node.users)} places"
            node = next(iter(node.users))
            if node.op == "output":
                return "its units are outputs of the network"
            if self._is_linear(node):
                break
            if not elementwise(node, self.modules, certain=certain):
                return f"its output goes through '{node.target}', where units cannot be followed"
            steps.append(node)
        if node.target in self.obstacles:
            return f"it feeds '{node.target}', which stays whole: {self.obstacles[node.target]}"
        return Link(name, node.target, partial(follow, steps=tuple(steps), modules=self.modules))

    def _is_linear(self, node: fx.Node) -> bool:
        return node.op == "call_module" and type(self.modules[node.target]) is nn.Linear
