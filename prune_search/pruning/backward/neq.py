from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prune_search.pruning.backpropagation import Backward
from prune_search.pruning.context import Context, Passes
from prune_search.pruning.registry import hyper, part

if TYPE_CHECKING:
    from torch import Tensor

MOMENTUM = ("momentum_buffer", "exp_avg")
NEARLY = 0.95


@part(
    "backward",
    "neq",
    source="Bragagnolo et al. 2022, NEq, arXiv 2207.09455: abstract and authors' code (the paper's text was not read); gradients "
    "that are really left out, and the layer and prefix policies, are our choice",
    needs=("probe",),
)
class NEq(Backward):
    """Rows of Conv, Linear and batch norm layers whose outputs on a probe have stopped turning are not trained for an epoch.

    The velocity v of a neuron follows from the cosines of its outputs after an epoch with those before it
    (:mod:`prune_search.pruning.equilibrium`). |v| < ``threshold`` freezes its weights, bias, gamma and beta for the next
    epoch: no gradient is computed for them, they do not move by momentum or decay, and their momentum starts from 0 when they
    wake. They still compute and pass gradients on. The head is never frozen. What an event changes is no motion.

    Attributes:
        threshold: eps. Authors: 1e-3. Negative: nothing is ever frozen.
        mu: Of the recursion. Authors: 0.5.
        velocity: ``paper`` or ``code``: two recursions that part from the third epoch on.
        images: Size of the probe. Authors: 50 to 500.
        warmup: Epochs at the start in which everything trains. Authors: 1.
        policy: ``neuron`` freezes rows; ``layer`` whole layers of which 95 % could be; ``prefix`` these only as far as all
            layers before them are too, so that no gradient goes back into them at all.
        choose: ``velocity``, or ``random``: as many rows of each layer, at random (a control).
    """

    threshold: float = hyper(1e-3, low=1e-4, high=1e-2, log=True)
    mu: float = hyper(0.5, low=0.0, high=0.5, at_least=0, below=1)
    velocity: str = hyper("paper", choices=("paper", "code"))
    images: int = hyper(50, low=10, high=500, log=True, at_least=1)
    warmup: int = hyper(1, low=1, high=5, at_least=1)
    policy: str = hyper("neuron", choices=("neuron", "layer", "prefix"))
    choose: str = hyper("velocity", choices=("velocity", "random"))

    def select(self, context: Context, state: dict) -> None:
        still = {}
        if context.history.epoch >= self.warmup:
            still = {name: v.abs() < self.threshold for name, v in state.get("velocity", {}).items()}
        self._freeze(context, state, self._chosen(context, still))
        context.memo["before"] = self._outputs(context)

    def release(self, context: Context, state: dict) -> None:
        from prune_search.pruning.sliced import unslice_gradient

        parameters = dict(context.model.named_parameters())
        for module in context.model.modules():
            unslice_gradient(module)
        for name in state.pop("whole", []):
            parameters[name].requires_grad_(True)
        state.pop("rows", None)
        self._measure(context, state)

    def before_step(self, context: Context, state: dict) -> None:
        parameters = dict(context.model.named_parameters()) if state.get("rows") else {}
        context.memo["stash"] = [
            (parameters[name], rows, parameters[name].detach()[rows], self._state(context, parameters[name], rows))
            for name, rows in state.get("rows", {}).items()
        ]

    def after_step(self, context: Context, state: dict) -> None:
        import torch

        with torch.no_grad():
            for parameter, rows, values, kept in context.memo["stash"]:
                parameter[rows] = values
                for key, value in context.optimizer.state.get(parameter, {}).items():
                    if torch.is_tensor(value) and value.shape == parameter.shape:
                        value[rows] = kept.get(key, 0.0)

    def frozen(self, state: dict) -> dict[str, float]:
        return state.get("shares", {})

    def reshape(self, state: dict, kept: Mapping[str, Sequence]) -> None:
        for values in (state.get("velocity", {}), *state.get("recursion", {}).values()):
            for name in kept.keys() & values.keys():
                values[name] = values[name].index_select(0, kept[name][0].to(values[name].device))

    def _outputs(self, context: Context) -> dict[str, Tensor]:
        from prune_search.pruning.equilibrium import outputs

        inputs, _ = context.probe(self.images)
        context.passes.append(Passes(forward=len(inputs)))
        return outputs(context.model, inputs)

    def _measure(self, context: Context, state: dict) -> None:
        """Velocities from the outputs before and after the epoch."""
        from prune_search.pruning.equilibrium import Velocity, similarity

        before = context.memo.pop("before", None)
        if before is None:
            return
        velocity, recursion = Velocity(self.velocity, self.mu), state.setdefault("recursion", {"phi": {}, "memory": {}})
        state["velocity"] = {}
        for name, after in self._outputs(context).items():
            memory = {key: values[name] for key, values in recursion.items() if name in values}
            state["velocity"][name] = velocity(similarity(after, before[name]), memory)
            for key, values in recursion.items():
                values[name] = memory[key]

    def _state(self, context: Context, parameter: Tensor, rows: Tensor) -> dict[str, Tensor]:
        import torch

        state = context.optimizer.state.get(parameter, {})
        same = lambda value: torch.is_tensor(value) and value.shape == parameter.shape
        return {key: value[rows] for key, value in state.items() if same(value)}

    def _chosen(self, context: Context, still: dict[str, Tensor]) -> dict[str, Tensor]:
        """Which rows are frozen, bool [C] by weight, in the order of their calls."""
        import torch

        if self.choose == "random":
            for name, rows in still.items():
                order = torch.randperm(len(rows), generator=context.generator)[: int(rows.sum())]
                still[name] = torch.zeros_like(rows).index_fill_(0, order.to(rows.device), True)
        if self.policy == "neuron":
            return still
        nearly = {name: bool(rows.float().mean() >= NEARLY) for name, rows in still.items()}
        if self.policy == "prefix":
            for i, name in enumerate(nearly):
                nearly[name] = all(list(nearly.values())[: i + 1])
        return {name: torch.full_like(rows, nearly[name]) for name, rows in still.items()}

    def _freeze(self, context: Context, state: dict, chosen: dict[str, Tensor]) -> None:
        import torch

        from prune_search.pruning.sliced import slice_gradient, sliceable

        parameters = dict(context.model.named_parameters())
        state.update(rows={}, whole=[], shares={})
        for weight, rows in chosen.items():
            if not rows.any():
                continue
            owner, _, _ = weight.rpartition(".")
            names = [n for n in (weight, f"{owner}.bias" if owner else "bias") if n in parameters]
            frozen = rows.nonzero().squeeze(1)
            state["shares"][weight] = len(frozen) / len(rows)
            for name in names:
                for key, value in context.optimizer.state.get(parameters[name], {}).items():
                    if key in MOMENTUM and torch.is_tensor(value):
                        value[frozen] = 0
            if rows.all():
                state["whole"] += [name for name in names if parameters[name].requires_grad]
                for name in names:
                    parameters[name].requires_grad_(False)
                    parameters[name].grad = None
                continue
            state["rows"] |= dict.fromkeys(names, frozen)
            module = context.model.get_submodule(owner)
            if sliceable(module):
                slice_gradient(module, (~rows).nonzero().squeeze(1))
