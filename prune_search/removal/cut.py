"""Deciding which channels stay."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prune_search.removal.adapted import ADAPTABLE, CLASSES
from prune_search.removal.constants import Constant, constant_of
from prune_search.removal.layers import Layer
from prune_search.removal.narrow import Narrow, narrow
from prune_search.removal.network import Network
from prune_search.removal.slicing import Kept


class Cut:
    """Which units of a model stay, and what its layers must add and can leave out.

    Layers' constants are those of eval mode.

    Args:
        model, network: The model and what :func:`~prune_search.removal.network.follow` says of it.
        multiple, narrow: As in :func:`~prune_search.removal.plan.dead_units`.
    """

    def __init__(self, model: nn.Module, network: Network, *, multiple: int, narrow: bool) -> None:
        layers, train_layers = network.layers, network.train_layers
        self._tensors = dict(model.state_dict(keep_vars=True))
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self._rows, self._layers, self._both = network.units.rows, layers, [*layers, *train_layers]
        called = {layer.weight for layer in layers}
        self._training_only = [layer for layer in train_layers if layer.weight not in called]
        self._unit, self._reasons = network.units.settle()
        self._stays = torch.zeros(int(self._unit.max()) + 1, dtype=torch.bool)
        self._stays[list(self._reasons)] = True
        self._settle()
        for layer in self._both:
            self._widen(layer, multiple)
        self.narrowed: dict[str, Narrow] = {}
        constants = self._constants()
        if narrow:
            self._narrow(multiple)
            constants = self._constants()
        self.constants = {weight: constant for weight, constant in constants.items() if constant}

    def kept(self) -> dict[str, Kept]:
        """Parameter or buffer -> int64 indices it keeps along each dimension; only those that shrink."""
        masks = {name: {_axis(self._tensors[name]): self._stay(ids)} for name, ids in self._rows.items()}
        for layer in self._both:
            masks[layer.weight] = {0: self._computed(layer)}
            if layer.groups == 1:
                masks[layer.weight][1] = self._read(layer)
            if layer.bias:
                masks[layer.bias] = {0: self._computed(layer)}
        return {
            name: tuple(
                (by_dim[dim] if dim in by_dim else torch.ones(size, dtype=torch.bool)).nonzero().squeeze(1)
                for dim, size in enumerate(self._tensors[name].shape)
            )
            for name, by_dim in masks.items()
            if not all(mask.all() for mask in by_dim.values())
        }

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Weight -> size of the only maps its layer may get: constants that hold for no other were cut from its outputs."""
        return {
            layer.weight: tuple(layer.constant.shape[2:])
            for layer in self._both
            if layer.axis == 1 and (layer.sized[1] & ~self._stay(layer.outputs)).any()
        }

    def pinned(self, name: str) -> list[str | None] | None:
        """Why each channel of a layer can never go, None where it can; None if the layer is not followed."""
        layer = next((layer for layer in self._layers if layer.weight.rpartition(".")[0] == name), None)
        return layer and [self._reasons.get(unit) for unit in self._unit[layer.outputs].tolist()]

    def _stay(self, ids: Tensor) -> Tensor:
        return self._stays[self._unit[ids]]

    def _computed(self, layer: Layer) -> Tensor:
        return self.narrowed[layer.weight].rows if layer.weight in self.narrowed else self._stay(layer.outputs)

    def _read(self, layer: Layer) -> Tensor:
        return self.narrowed[layer.weight].columns if layer.weight in self.narrowed else self._stay(layer.inputs)

    def _keep(self, ids: Tensor) -> None:
        self._stays[self._unit[ids]] = True
        self._settle()

    def _settle(self) -> None:
        """Whatever a layer that stays hears of the network's input stays too."""
        before = -1
        while before != (before := int(self._stays.sum())):
            for layer in reversed(self._both):
                if layer.groups == 1:
                    heard = layer.reads[self._stay(layer.outputs)].any(0) & layer.alive
                    self._stays[self._unit[layer.inputs[heard]]] = True

    def _widen(self, layer: Layer, multiple: int) -> None:
        """Keep channels that could go until the width is a multiple, and at least one."""
        for channel in layer.outputs[~self._stay(layer.outputs)]:
            width = int(self._stay(layer.outputs).sum())
            if width and width % multiple == 0:
                return
            self._keep(channel)

    def _narrow(self, multiple: int) -> None:
        for layer in self._layers:
            if layer.groups == 1 and type(self._module(layer)) in CLASSES:
                found = narrow(layer, self._stay(layer.outputs), self._stay(layer.inputs), multiple)
                if found:
                    self.narrowed[layer.weight] = found

    def _constants(self) -> dict[str, Constant | None]:
        """What each layer must add; one that cannot say it, or is called in train mode only, keeps those inputs."""
        while True:
            found = {
                layer.weight: constant_of(layer, ~self._read(layer), self._module(layer)) for layer in self._layers
            }
            unsaid = [layer for layer in self._layers if not self._can_say(layer, found[layer.weight])]
            unsaid += [layer for layer in self._training_only if constant_of(layer, ~self._read(layer), None)]
            if not unsaid:
                return found
            for layer in unsaid:
                constant = layer.constant.movedim(layer.axis, 0).flatten(1).any(1)
                self._keep(layer.inputs[constant])

    def _can_say(self, layer: Layer, constant: Constant | None) -> bool:
        """A layer that is no module of torch.nn can add a constant to the bias it has, and nothing else."""
        adaptable = type(self._module(layer)) in ADAPTABLE
        return constant is None or adaptable or (constant.bias is not None and layer.bias is not None)

    def _module(self, layer: Layer) -> nn.Module | None:
        return self._modules.get(layer.weight.rpartition(".")[0])


def _axis(tensor: Tensor) -> int:
    """The dimension along which a tensor with one entry per channel has them."""
    return next((dim for dim, size in enumerate(tensor.shape) if size > 1), 0)
