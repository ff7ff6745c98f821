"""A network's architecture as JSON, from a ``torch.fx`` trace. The loader's lists say what is allowed."""

from __future__ import annotations

import copy
import inspect
import json
import math
import operator

import torch
from torch import Tensor, fx, nn

from prune_search.errors import UserError
from prune_search.export import load_safetensors as loader

_NAMES = {function: name for name, function in loader.FUNCTIONS.items()} | {getattr: "getattr"}
_DTYPES = {dtype: name for name, dtype in loader.DTYPES.items()}
_GUARDS = ("_assert", "_assert_is_none", "eq")  # what fx adds for arguments that are kept at their defaults
TOLERANCE = 1e-6  # of the output scale, for the rebuilt network; our choice


def record(model: nn.Module, example_input: Tensor) -> dict:
    """Architecture of ``model`` in eval mode as JSON data: layers, tensors and the steps of a forward pass.

    Args:
        model: left untouched. Its ``forward`` takes one tensor; further arguments stay at their defaults.
        example_input: float tensor ``[N, ...]`` on the model's device.

    Returns:
        What :func:`prune_search.export.load_safetensors.build` takes, with the tensors of :func:`capture`.

    Raises:
        UserError: something in the network is not on the loader's lists; the message names it and the reason.
    """
    return capture(model, example_input)[0]


def capture(model: nn.Module, example_input: Tensor) -> tuple[dict, dict[str, Tensor]]:
    """The architecture record of :func:`record`, and the tensors that belong to it (on the CPU, by name).

    The network is rebuilt from both and compared on ``example_input`` before they are returned.
    """
    model = copy.deepcopy(model).cpu().eval()
    example_input = example_input.detach().cpu()
    graph = _trace(model)
    layers, tensors, nodes, skipped = {}, {}, [], set()
    for node in graph.nodes:
        guards = skipped & set(node.all_input_nodes) and getattr(node.target, "__name__", "") in _GUARDS
        if guards or (node.op == "placeholder" and nodes):
            skipped.add(node)
        else:
            nodes.append(_node(node, model))
            if node.op == "call_module":
                layers[node.target] = _layer(node, model.get_submodule(node.target))
            elif node.op == "get_attr":
                is_parameter = isinstance(operator.attrgetter(node.target)(model), nn.Parameter)
                tensors[node.target] = "parameter" if is_parameter else "buffer"
    architecture = {
        "format": loader.FORMAT,
        "version": loader.VERSION,
        "torch": torch.__version__,
        "input_shape": list(example_input.shape[1:]),
        "layers": layers,
        "tensors": tensors,
        "nodes": nodes,
    }
    architecture = json.loads(json.dumps(architecture, allow_nan=False))
    weights = {
        f"{name}.{key}": value for name in layers for key, value in model.get_submodule(name).state_dict().items()
    }
    weights |= {name: operator.attrgetter(name)(model) for name in tensors}
    weights = {name: value.detach().clone().contiguous() for name, value in weights.items()}
    _prove(model, architecture, weights, example_input)
    return architecture, weights


def _refuse(reason: str) -> UserError:
    return UserError(f"this network cannot be written as safetensors: {reason}. Export it as pt2 or onnx instead.")


def _trace(model: nn.Module) -> fx.Graph:
    parameters = list(inspect.signature(model.forward).parameters.values())
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        raise _refuse("its forward takes *args or **kwargs, and a record needs one named input")
    if not parameters or any(p.default is p.empty for p in parameters[1:]):
        raise _refuse(f"its forward takes {len(parameters)} inputs, and a record has exactly one")
    try:
        return fx.Tracer().trace(model, {p.name: p.default for p in parameters[1:]} or None)
    except Exception as error:
        raise _refuse(f"torch.fx cannot trace it ({type(error).__name__}: {error})") from error


def _node(node: fx.Node, model: nn.Module) -> dict:
    target, args = node.target, node.args
    if node.op == "placeholder":
        target, args = "input", ()
    elif node.op == "call_function":
        target, args = _function(node)
    elif node.op == "call_method" and target not in loader.METHODS:
        raise _refuse(f"step '{node.name}' calls the tensor method '{target}', which is not on the list")
    elif node.op == "get_attr" and not isinstance(operator.attrgetter(target)(model), Tensor):
        raise _refuse(f"step '{node.name}' reads '{target}', which is not a tensor")
    kwargs = {} if args is not node.args else node.kwargs
    return {
        "name": node.name,
        "op": node.op,
        "target": target,
        "args": [encode(value, node.name) for value in args],
        "kwargs": {key: encode(value, node.name) for key, value in kwargs.items()},
    }


def _function(node: fx.Node) -> tuple[str, tuple]:
    """Name and arguments of a call as recorded. torchvision's stochastic depth is nothing in eval mode."""
    function, name = node.target, f"{getattr(node.target, '__module__', None)}.{node.target.__name__}"
    if name == "torchvision.ops.stochastic_depth.stochastic_depth" and node.args[3:] == (False,):
        return "operator.pos", node.args[:1]
    if function not in _NAMES:
        raise _refuse(f"step '{node.name}' calls {name}, which is not on the list")
    if function is getattr and node.args[1] not in loader.ATTRIBUTES:
        raise _refuse(f"step '{node.name}' reads the attribute '{node.args[1]}', which is not on the list")
    return _NAMES[function], node.args


def encode(value: object, where: str) -> object:
    """An argument as JSON data; ``where`` names the step or layer in errors."""
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, tuple):
        return {"tuple": [encode(item, where) for item in value]}
    if isinstance(value, list):
        return [encode(item, where) for item in value]
    if isinstance(value, slice):
        return {"slice": [encode(item, where) for item in (value.start, value.stop, value.step)]}
    if value is ...:
        return {"ellipsis": True}
    if isinstance(value, torch.dtype) and value in _DTYPES:
        return {"dtype": _DTYPES[value]}
    raise _refuse(f"'{where}' has an argument of type {type(value).__name__} ({value!r}), which is not plain data")


def _layer(node: fx.Node, module: nn.Module) -> dict:
    kind = type(module)
    if kind.__name__ not in loader.LAYERS or getattr(nn, kind.__name__) is not kind:
        name = f"{kind.__module__}.{kind.__name__}"
        raise _refuse(f"layer '{node.target}' is a {name}, which is not on the list of layers")
    arguments = {}
    for parameter in inspect.signature(kind).parameters.values():
        known = hasattr(module, parameter.name)
        if parameter.name in ("device", "dtype") or not known:
            continue
        value = getattr(module, parameter.name)
        if isinstance(parameter.default, bool):
            value = value is not None if isinstance(value, Tensor) or value is None else value
        if parameter.default is parameter.empty or value != parameter.default:
            arguments[parameter.name] = encode(value, node.target)
    return {"kind": kind.__name__, "arguments": arguments}


def _prove(model: nn.Module, architecture: dict, weights: dict[str, Tensor], example_input: Tensor) -> None:
    with torch.no_grad():
        expected = model(example_input.clone())
        if not isinstance(expected, Tensor):
            raise _refuse(f"its output is a {type(expected).__name__}, not one tensor")
        try:
            actual = loader.build(architecture, weights)(example_input.clone())
        except (ValueError, RuntimeError) as error:
            raise _refuse(f"the record does not rebuild ({error})") from error
    scale = expected.nan_to_num(0, 0, 0).abs().max().item()
    if actual.shape != expected.shape or not torch.allclose(
        actual, expected, rtol=0, atol=TOLERANCE * scale, equal_nan=True
    ):
        raise _refuse("the network rebuilt from its record answers differently (hooks, or state outside of tensors?)")
