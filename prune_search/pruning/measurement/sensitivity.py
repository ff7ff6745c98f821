"""How much a network's answer reacts to each of its neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from prune_search.cost.layers import TRANSPOSED
from prune_search.pruning.context import Context, Masks, Passes, measurement
from prune_search.pruning.measurement.gradient import BATCH
from prune_search.pruning.traceless import traceless

OVER_POSITIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda values: values.mean(2),
    "sum": lambda values: values.sum(2),
    "max": lambda values: values.amax(2),
}


@measurement("sensitivity", needs=("probe",))
def sensitivity(
    context: Context, *, variant: str = "lower-bound", images: int = 64, positions: str = "mean"
) -> tuple[Masks, Passes]:
    """S of every output channel of the prunable layers, by weight: float [O]. In eval mode, on the probe.

    With y [N, C] the network's outputs and p the output of a layer, and E the mean over images:

    * ``full``: sum over c of E |dy_c/dp| / C, from C backward passes;
    * ``lower-bound``: E |sum over c of dy_c/dp| / C, from one;
    * ``local``: 1 where the mean of p over images and positions is above 0, else 0; no backward pass.

    Args:
        positions: How the positions of a channel become one: ``mean``, ``sum`` or ``max``. Not for ``local``.
    """
    inputs, _ = context.probe(images)
    total: Masks = {}
    backward = 0
    with traceless(context.model), _outputs(context) as outputs:
        for batch in inputs.split(BATCH):
            outputs.clear()
            answers = context.model(batch).flatten(1)
            share, layers = len(batch) / len(inputs), [output for calls in outputs.values() for output in calls]
            if variant == "local":
                found = layers
            elif variant == "lower-bound":
                found = [slope.abs() / answers.shape[1] for slope in _slopes(answers.sum(), layers)]
                backward += len(batch)
            else:
                found = [torch.zeros_like(layer) for layer in layers]
                for answer in answers.sum(0):
                    torch._foreach_add_(found, [slope.abs() / answers.shape[1] for slope in _slopes(answer, layers)])
                backward += len(batch) * answers.shape[1]
            values = iter(found)
            reduce = OVER_POSITIONS["mean" if variant == "local" else positions]
            for name, calls in outputs.items():
                each = [reduce(by_channel(context.model, name, next(values))).mean(0) for _ in calls]
                total[name] = total.get(name, 0) + share * sum(each) / len(each)
    if variant == "local":
        total = {name: (mean > 0).to(mean.dtype) for name, mean in total.items()}
    return {name: value.detach() for name, value in total.items()}, Passes(len(inputs), backward)


@measurement("output-gradient", needs=("probe", "loss"))
def output_gradient(context: Context, *, images: int = 64) -> tuple[Masks, Passes]:
    """Mean gradient of the loss over images and positions, for every output channel of the prunable layers: float [O]."""
    inputs, labels = context.probe(images)
    total: Masks = {}
    with traceless(context.model), _outputs(context) as outputs:
        for batch, answers in zip(inputs.split(BATCH), labels.split(BATCH), strict=True):
            outputs.clear()
            loss = context.loss(context.model(batch), answers) * len(batch)
            layers = [output for calls in outputs.values() for output in calls]
            values = iter(_slopes(loss, layers))
            for name, calls in outputs.items():
                each = [by_channel(context.model, name, next(values)).mean(2).sum(0) for _ in calls]
                total[name] = total.get(name, 0) + sum(each) / len(each) / len(inputs)
    return {name: value.detach() for name, value in total.items()}, Passes(len(inputs), len(inputs))


def by_channel(model: nn.Module, weight: str, value: Tensor) -> Tensor:
    """A layer's output as [N, C, positions]."""
    layer = model.get_submodule(weight.rpartition(".")[0])
    value = value.movedim(-1, 1) if isinstance(layer, nn.Linear) else value
    return value.reshape(*value.shape[:2], -1)


def _slopes(value: Tensor, layers: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, layers, retain_graph=True, allow_unused=True, materialize_grads=True)


@contextmanager
def _outputs(context: Context) -> Iterator[dict[str, list[Tensor]]]:
    """The outputs of the prunable layers, by weight, of all calls made inside, one after another; with graph."""
    outputs: dict[str, list[Tensor]] = {}
    handles = []

    def watch(name: str, layer: nn.Module) -> None:
        def note(layer: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
            if not output.requires_grad:  # of frozen layers; the network's answer depends on it all the same
                output = output.detach().requires_grad_()
            outputs.setdefault(name, []).append(output)
            return output.clone()  # an activation in place must not overwrite it

        handles.append(layer.register_forward_hook(note))

    for name in context.masks:
        layer = context.model.get_submodule(name.rpartition(".")[0])
        if not isinstance(layer, TRANSPOSED):  # its weight has no row for each output
            watch(name, layer)
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
