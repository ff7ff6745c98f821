"""What an operation without weights does to single channels. Everything not listed here keeps its inputs whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from prune_search.removal.activations import FUNCTIONS, METHODS, MODULES
from prune_search.removal.units import Units
from prune_search.removal.values import Opaque, Value, along

DROPOUT = frozenset({"dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout",
                     "feature_alpha_dropout", "stochastic_depth", "drop_path"})  # fmt: skip
CHANNELWISE = frozenset({
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.LPPool1d, nn.LPPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d, nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, nn.ZeroPad1d, nn.ZeroPad2d,
    nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d, nn.ReflectionPad1d, nn.ReflectionPad2d,
    nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d,
    F.max_pool1d, F.max_pool2d, F.max_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.lp_pool1d, F.lp_pool2d,
    F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, F.adaptive_max_pool1d,
    F.adaptive_max_pool2d, F.adaptive_max_pool3d, F.interpolate,
})  # fmt: skip
SHAPE_ONLY = frozenset({"new_ones", "new_zeros", "new_empty", "new_full", "ones_like", "zeros_like", "empty_like"})
IN_PLACE = frozenset({"iadd", "isub", "imul", "itruediv"})
REDUCTIONS = frozenset({"mean", "sum", "amax", "amin"})
SUMS = frozenset({"add", "add_", "iadd", "sub", "sub_", "isub"})
PRODUCTS = frozenset({"mul", "mul_", "imul"})
MOVES = frozenset({"flatten", "view", "reshape", "permute", "transpose", "contiguous", "clone", "unsqueeze", "squeeze",
                   "cat", "concat", "stack", "chunk", "getitem", "unflatten", "movedim", "detach"})  # fmt: skip


def transfer(
    node: fx.Node, module: nn.Module | None, args: tuple, kwargs: dict, units: Units, *, training: bool
) -> Any:
    """The Value, or tuple of Values, that ``node`` makes of the Values among its arguments.

    Raises:
        Opaque: If single channels cannot be followed through it.
    """
    name = type(module).__name__ if module else getattr(node.target, "__name__", str(node.target))
    run = _runner(node, module, args, kwargs)
    values = [value for value in _leaves((args, kwargs)) if isinstance(value, Value)]
    if isinstance(module, nn.Dropout | nn.modules.dropout._DropoutNd) or name.lower() in DROPOUT | {"stochasticdepth"}:
        if module is None and not training and _at_work(name, args, kwargs):
            raise Opaque("drops entries in eval mode too")
        return values[0]
    if name in SUMS | PRODUCTS:
        return _combine(args[0], args[1], run, name in PRODUCTS, units)
    if len(values) == 1 and (type(module) in MODULES or node.target in FUNCTIONS or _method(node, METHODS)):
        return Value.of(values[0].ids, values[0].alive, run(lambda value: value.constant.clone()), values[0].sized)
    if type(module) in CHANNELWISE or (node.op == "call_function" and node.target in CHANNELWISE):
        return _channelwise(values[0], run)
    if name in REDUCTIONS:
        return _reduce(values[0], args, kwargs, run, summed=name == "sum")
    if name == "pad":
        return _pad(values[0], args, kwargs, run, units)
    if name in MOVES or type(module) in (nn.Flatten, nn.Unflatten):
        return _move(node, name.lower(), values, args, kwargs, run, units)
    raise Opaque("is not known to keep channels apart")


def _method(node: fx.Node, names: frozenset[str]) -> bool:
    return node.op == "call_method" and node.target in names


def _at_work(name: str, args: tuple, kwargs: dict) -> bool:
    place = 3 if name == "stochastic_depth" else 2
    return kwargs.get("training", args[place] if len(args) > place else True) is not False


def _runner(node: fx.Node, module: nn.Module | None, args: tuple, kwargs: dict) -> Callable:
    """``run(pick)`` executes the node with ``pick(value)`` in the place of each Value."""

    def run(pick: Callable[[Value], Tensor]) -> Any:
        given, named = _replace(args, pick), {k: v for k, v in _replace(kwargs, pick).items() if k != "inplace"}
        if module is not None:
            return module(*given, **named)
        if node.op == "call_method":
            return getattr(given[0], "reshape" if node.target == "view" else node.target)(*given[1:], **named)
        return node.target(*given, **named)

    return run


def _replace(value: Any, pick: Callable[[Value], Any]) -> Any:
    if isinstance(value, Value):
        return pick(value)
    if isinstance(value, dict):
        return {key: _replace(item, pick) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_replace(item, pick) for item in value)
    return value


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return _leaves(list(value.values()))
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _combine(one: Any, other: Any, run: Callable, product: bool, units: Units) -> Value:
    constant = run(lambda value: value.constant.clone())
    operands = [side for side in (one, other) if isinstance(side, Value)]
    if len(operands) == 1:
        value, beside = operands[0], other if isinstance(one, Value) else one
        if isinstance(beside, Tensor) and not _even(value, beside):
            raise Opaque("meets a tensor that is not followed")
        return Value.of(value.ids, value.alive, constant, value.sized)
    ids = _couple(*operands, units)
    alive = one.alive | other.alive
    if product:
        for side in operands:
            alive = alive & (side.alive | (side.constant != 0))
    return Value.of(ids, alive, constant, one.sized | other.sized)


def _even(value: Value, beside: Tensor) -> bool:
    """Whether a tensor that is not followed has one entry for all channels."""
    dims = value.ids.dim()
    sizes = (1,) * (dims - beside.dim()) + tuple(beside.shape)
    return len(sizes) == dims and all(size == 1 or not value.varies(dim) for dim, size in enumerate(sizes))


def _couple(one: Value, other: Value, units: Units) -> Tensor:
    """Unify the channels that meet; an operand that is one entry wide where the other's channels differ is kept."""
    dims = max(one.ids.dim(), other.ids.dim())
    first, second = (value.ids[(None,) * (dims - value.ids.dim())] for value in (one, other))
    for narrow, wide in ((first, second), (second, first)):
        for dim in range(dims):
            spread = narrow.shape[dim] == 1 < wide.shape[dim]
            if spread and bool((wide != wide.narrow(dim, 0, 1)).any()):
                units.pin(narrow, "it is broadcast over channels")
                return wide
    units.unify(first, second)
    return torch.broadcast_tensors(first, second)[0]


def _channelwise(value: Value, run: Callable) -> Value:
    ids, alive, constant, sized = value.channels(1)
    result = run(lambda _: constant)
    if not isinstance(result, Tensor) or result.shape[1] != len(ids):
        raise Opaque("changes the number of channels")
    even = run(lambda _: torch.full_like(constant, 0.7))
    if not torch.allclose(even, torch.full_like(even, 0.7)):  # a padding; no layer refuses maps of other sizes here
        alive = alive | constant.transpose(0, 1).flatten(1).any(1)
    return Value.of(*(along(each, 1, result.dim()) for each in (ids, alive)), result, along(sized, 1, result.dim()))


def _reduce(value: Value, args: tuple, kwargs: dict, run: Callable, *, summed: bool) -> Value:
    dims = args[1] if len(args) > 1 else kwargs.get("dim")
    if dims is None:
        raise Opaque("reduces over channels")
    dims = sorted(
        {dim % value.ids.dim() for dim in (dims if isinstance(dims, (tuple, list)) else [dims])}, reverse=True
    )
    if any(value.varies(dim) for dim in dims):
        raise Opaque("reduces over channels")
    ids, alive, sized = value.ids, value.alive, value.sized
    for dim in dims:
        ids, alive, sized = ids.narrow(dim, 0, 1), alive.any(dim, keepdim=True), sized.any(dim, keepdim=True)
    constant = run(lambda v: v.constant.masked_fill(alive, 0.0))
    if summed:  # no layer refuses maps of other sizes here
        alive = alive | (constant != 0).view(alive.shape)
    return Value.of(*(each.reshape(constant.shape) for each in (ids, alive)), constant, sized.reshape(constant.shape))


def _pad(value: Value, args: tuple, kwargs: dict, run: Callable, units: Units) -> Value:
    pads = args[1] if len(args) > 1 else kwargs["pad"]
    if len(pads) // 2 <= value.ids.dim() - 2:
        return _channelwise(value, run)
    if (args[2] if len(args) > 2 else kwargs.get("mode", "constant")) != "constant":
        raise Opaque("pads channels by others")
    ids = F.pad(value.ids, pads, value=-1)
    fixed = units.fixed("a padding of fixed width stands beside its channels")
    alive, sized = F.pad(value.alive, pads), F.pad(value.sized, pads)
    return Value.of(torch.where(ids < 0, fixed, ids), alive, run(lambda v: v.constant), sized)


def _move(
    node: fx.Node, name: str, values: list[Value], args: tuple, kwargs: dict, run: Callable, units: Units
) -> Value | tuple[Value, ...]:
    if name in ("cat", "concat", "stack") and any(not isinstance(v, Value) for v in args[0]):
        raise Opaque("meets a tensor that is not followed")
    if name == "getitem":
        _check_index(values[0], args[1])
    parts = [run(lambda v, field=field: getattr(v, field)) for field in ("ids", "alive", "constant", "sized")]
    if isinstance(parts[0], Tensor):
        result = Value(*parts)
        if name in ("view", "reshape", "unflatten"):
            for dim in _literal_sizes(node):
                units.unify_along(result.ids, dim)
        return result
    results = tuple(Value(*part) for part in zip(*parts, strict=True))
    dim = args[2] if len(args) > 2 else kwargs.get("dim", 0)
    if values[0].varies(dim):
        if len({part.ids.shape for part in results}) > 1:
            raise Opaque("cuts channels into parts of different width")
        for part in results[1:]:
            units.unify(results[0].ids, part.ids)
    return results


def _literal_sizes(node: fx.Node) -> list[int]:
    """The dimensions whose size a view or reshape writes as a number: they cannot shrink."""
    if node.op == "call_module" or node.target in ("unflatten", torch.unflatten):
        raise Opaque("has sizes of its own")
    sizes = node.args[1:] if node.op == "call_method" else node.args[1]
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = sizes[0]
    return [dim for dim, size in enumerate(sizes) if isinstance(size, int) and size > 1]


def _check_index(value: Value, index: Any) -> None:
    """An index may cut any dimension but those along which channels differ."""
    index = index if isinstance(index, tuple) else (index,)
    if any(not isinstance(item, (slice, int, type(None), type(...))) for item in index):
        raise Opaque("is indexed by a tensor")
    named = sum(item is not None and item is not ... for item in index)
    dim = 0
    for item in index:
        if item is ...:
            dim += value.ids.dim() - named
        elif item is not None:
            if item != slice(None) and value.varies(dim):
                raise Opaque("takes channels at fixed places")
            dim += 1
