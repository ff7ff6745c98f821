"""A network's channels, followed from its inputs to its outputs."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from prune_search.removal.activations import is_activation
from prune_search.removal.adapted import ADAPTABLE, NORMS, narrowed
from prune_search.removal.errors import RemovalError
from prune_search.removal.graph import obstacles, skeleton, trace
from prune_search.removal.layers import CONV_FUNCTIONS, Layer, layer, norm
from prune_search.removal.operations import IN_PLACE, SHAPE_ONLY, transfer
from prune_search.removal.units import Units
from prune_search.removal.values import Opaque, Value

_ARGUMENTS = {
    F.linear: ("input", "weight", "bias"),
    F.batch_norm: ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
} | dict.fromkeys(CONV_FUNCTIONS, ("input", "weight", "bias", "stride", "padding", "dilation", "groups"))


@dataclass(frozen=True)
class Network:
    """A model's channels and layers.

    Attributes:
        units: Its channels.
        layers, train_layers: The Conv and Linear layers, in order, of eval and of train mode.
        activations: Step of the graph that is an activation -> its channels' dimension, and their ids, int64 [C].
        hindered: Modules that must stay as they are -> why.
        graph: Of eval mode, with the model's tensors.
    """

    units: Units
    layers: list[Layer]
    train_layers: list[Layer]
    activations: dict[str, tuple[int, Tensor]]
    hindered: dict[str, str]
    graph: fx.GraphModule


class Untraceable(RemovalError):
    """torch.fx, or the model's own code, cannot follow the model."""


@torch.no_grad()
def follow(model: nn.Module, example_input: Tensor) -> Network:
    """Follow the channels of a model in eval and in train mode. Both modes are run once where they differ, on a batch of
    one, with every module as in eval mode, for sizes alone; what is said of channels is on the CPU, constants in float64.

    Raises:
        Untraceable: What torch.fx or the model's own code raised.
    """
    units, graphs, hindered = Units(), [], []
    try:
        views = [skeleton(model, training=training) for training in (False, True)]
        for view in views:
            graphs.append(trace(view))
            hindered.append(obstacles(view, graphs[-1]))
        modes = 1 if str(graphs[0]) == str(graphs[1]) else 2
        walks = [_walked(views[i], graphs[i], hindered[i], example_input, units) for i in range(modes)]
    except Exception as error:  # the model's own code runs here
        raise Untraceable(f"torch.fx cannot trace the model: {type(error).__name__}: {error}") from error
    return Network(units, walks[0].layers, walks[-1].layers, walks[0].activations, hindered[0], walks[0].module)


def _walked(model: nn.Module, graph: fx.Graph, whole: dict[str, str], example: Tensor, units: Units) -> _Walk:
    walk = _Walk(fx.GraphModule(model, graph).eval(), units, whole, model.training)
    walk.run(example[:1])
    return walk


class _Walk(fx.Interpreter):
    """Runs the graph on real numbers, for its sizes, and on Values beside them."""

    def __init__(self, module: fx.GraphModule, units: Units, whole: dict[str, str], training: bool) -> None:
        super().__init__(module)
        self.units, self.whole, self.training = units, whole, training
        self.values: dict[fx.Node, Any] = {}
        self.layers: list[Layer] = []
        self.activations: dict[str, tuple[int, Tensor]] = {}
        self.modules = dict(module.named_modules(remove_duplicate=False))
        self.reads = [node.target for node in module.graph.nodes if node.op == "get_attr"]

    def run_node(self, node: fx.Node) -> Any:
        real = super().run_node(node)
        if node.op == "placeholder":
            self.values[node] = self._whole(real, "they are inputs of the network")
        elif node.op == "get_attr":
            self._parameter(node, real)
        elif node.op == "output":
            self._pin(node, "its units are outputs of the network")
        elif (
            any(source in self.values for source in node.all_input_nodes)
            and _tensors(real)
            and _name(node) not in SHAPE_ONLY
        ):
            try:
                self.values[node] = self._value(node, real)
                self._note_activation(node)
            except Opaque as why:
                reason = f"its output goes through '{_name(node)}', which {why}"
                self._pin(node, reason)
                self.values[node] = self._whole(real, reason)
            self._overwritten(node)
        return real

    def _note_activation(self, node: fx.Node) -> None:
        module = self.modules[node.target] if node.op == "call_module" else None
        value = self.values[node]
        if isinstance(value, Value) and is_activation(node, module):
            for axis in (1, value.ids.dim() - 1):
                ids = value.ids.movedim(axis, 0).flatten(1)
                if bool((ids == ids[:, :1]).all()):
                    self.activations[node.name] = (axis, ids[:, 0])
                    return

    def _overwritten(self, node: fx.Node) -> None:
        """What a step changes in place must not be read again by its old name: nothing is known of it then."""
        module = self.modules[node.target] if node.op == "call_module" else None
        changes = getattr(module, "inplace", False) or node.kwargs.get("inplace") or _name(node) in IN_PLACE
        source = node.all_input_nodes[0]
        if (changes or _name(node).endswith("_")) and any(user > node for user in source.users):
            reason = f"'{_name(node)}' changes it in place"
            self._pin(node, reason)
            self.values[source] = self._whole(self.env[source], reason)

    def _value(self, node: fx.Node, real: Any) -> Any:
        module = self.modules[node.target] if node.op == "call_module" else None
        if module is not None and node.target in self.whole:
            raise Opaque(f"stays whole: {self.whole[node.target]}")
        if narrowed(module):
            raise Opaque("was narrowed before")
        derived = (
            isinstance(module, NORMS) and next((p for c in module.children() for p in c.parameters()), None) is None
        )
        if type(module) in (*ADAPTABLE, nn.PReLU) or derived:
            names = {name: f"{node.target}.{name}" for name, _ in _state(module)}
            value = self.values[node.all_input_nodes[0]]
            return self._layer(node, value, names, dict(_state(module)), module, _Elsewhere(module), real)
        if node.op == "call_function" and node.target in _ARGUMENTS:
            return self._functional(node, real)
        args, kwargs = (
            fx.map_arg(given, lambda source: self.values.get(source, _at_hand(self.env[source])))
            for given in (node.args, node.kwargs)
        )
        return transfer(node, module, args, kwargs, self.units, training=self.training)

    def _functional(self, node: fx.Node, real: Tensor) -> Value:
        given = dict(zip(_ARGUMENTS[node.target], node.args)) | dict(node.kwargs)
        nodes = {name: value for name, value in given.items() if isinstance(value, fx.Node) and name != "input"}
        if any(value.op != "get_attr" or self.reads.count(value.target) > 1 for value in nodes.values()):
            raise Opaque("has weights that are computed or used twice")
        tensors = {name: self.env[value] for name, value in nodes.items()}
        settings = {k: v for k, v in given.items() if k not in nodes and k not in ("input", "training", "momentum")}
        run = lambda x: node.target(x, **{name: _at_hand(tensor) for name, tensor in tensors.items()}, **settings)
        names = {name: value.target for name, value in nodes.items()}
        value, groups = self.values[given["input"]], settings.get("groups", 1)
        return self._layer(node, value, names, tensors, None, run, real, groups)

    def _layer(self, node, value, names, tensors, module, run, real, groups=1) -> Value:
        if isinstance(module, nn.PReLU) and module.num_parameters == 1:
            return Value.of(value.ids, value.alive, run(value.constant), value.sized)
        if isinstance(module, (*NORMS, nn.PReLU)) or node.target is F.batch_norm:
            if not isinstance(module, nn.PReLU) and "running_var" not in tensors:
                raise Opaque("keeps no statistics")
            gamma = None if isinstance(module, nn.PReLU) else tensors.get("weight")
            return norm(value, list(names.values()), gamma, run, self.units)
        linear = isinstance(module, nn.Linear) or node.target is F.linear
        weight, bias = names["weight"], names.get("bias")
        noted, result = layer(
            value, (weight, bias), tensors, getattr(module, "groups", groups), -1 if linear else 1, module, run, real.shape,
            self.units,
        )  # fmt: skip
        for extra in set(names.values()) - {weight, bias}:  # of an adapted layer
            self.units.unify(self.units.of(extra, len(noted.outputs)), noted.outputs)
        self.layers.append(noted)
        return result

    def _parameter(self, node: fx.Node, real: Any) -> None:
        """A tensor of one dimension that counts is followed: a scale per channel, say."""
        if (
            isinstance(real, nn.Parameter)
            and self.reads.count(node.target) == 1
            and sum(n > 1 for n in real.shape) == 1
        ):
            ids = self.units.of(node.target, real.numel()).view(real.shape)
            self.values[node] = Value.of(ids, torch.tensor(False), _at_hand(real))

    def _pin(self, node: fx.Node, reason: str) -> None:
        for source in node.all_input_nodes:
            for value in _flat(self.values.get(source)):
                self.units.pin(value.ids, reason)

    def _whole(self, real: Any, reason: str) -> Any:
        if isinstance(real, (tuple, list)):
            return tuple(self._whole(item, reason) for item in real)
        fixed = self.units.fixed(reason)
        return Value.of(fixed, torch.tensor(True), torch.zeros((), dtype=torch.float64).expand(real.shape))


class _Elsewhere:
    """A module as a function on the CPU, in float64; its copy there is made when it is called for."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._copy = module, None

    def __call__(self, value: Tensor) -> Tensor:
        if self._copy is None:
            self._copy = copy.deepcopy(self._module).cpu().double()
        return self._copy(value)


def _at_hand(value: Any) -> Any:
    """A tensor of the model on the CPU, numbers in float64."""
    if not isinstance(value, Tensor):
        return value
    value = value.detach().cpu()
    return value.double() if value.is_floating_point() else value


def _state(module: nn.Module) -> list[tuple[str, Tensor]]:
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return [(name, tensor) for name, tensor in tensors if tensor.numel() > 0 and tensor.dim() > 0]


def _tensors(real: Any) -> bool:
    if isinstance(real, (tuple, list)) and not isinstance(real, torch.Size):
        return bool(real) and all(_tensors(item) for item in real)
    return isinstance(real, Tensor)


def _flat(value: Any) -> list[Value]:
    if isinstance(value, tuple):
        return [item for part in value for item in _flat(part)]
    return [value] if isinstance(value, Value) else []


def _name(node: fx.Node) -> str:
    return str(node.target) if isinstance(node.target, str) else node.target.__name__
