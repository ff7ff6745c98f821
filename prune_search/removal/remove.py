"""Removal, with proof."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from prune_search.cost.layers import evaluating
from prune_search.removal.apply import apply
from prune_search.removal.errors import RemovalError
from prune_search.removal.fold import fold
from prune_search.removal.optimizers import carry
from prune_search.removal.plan import dead_units

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 5e-2}
"""Largest difference allowed, as a share of the output's scale. float16 and bfloat16: our choice."""


def remove(
    model: nn.Module,
    example_input: Tensor,
    *,
    fold_batchnorm: bool = True,
    optimizer: Optimizer | None = None,
) -> nn.Module:
    """A smaller network that computes the same as the masked ``model`` in eval mode.

    Channels that no input reaches or nobody hears are cut, as :func:`~prune_search.removal.plan.dead_units` finds them;
    what their constants gave is added behind. Layers that torch.fx cannot follow are left whole
    (:func:`~prune_search.removal.plan.explain` says why). Zero means exactly 0.

    Args:
        model: The masked network; untouched. Masks must be zeros in the weights, not hooks or
            parametrizations.
        example_input: [N, ...] on the model's device, to compare both networks on.
        fold_batchnorm: Also fold batch norm into the Conv or Linear before it. The result is then for
            inference.
        optimizer: Holds the model's parameters; afterwards it holds the result's, its state cut along. A
            layer that took a norm in loses its state. Without one the result is for inference: layers may then also leave
            out channels of their own that others keep, as behind a residual sum.

    Returns:
        A network of the model's own class and training mode, on its device, whose layers are smaller. A Conv or Linear
        that must say more than that becomes an :class:`~prune_search.removal.adapted.Adapted` one.

    Raises:
        RemovalError: If both networks disagree on ``example_input``, or the optimizer cannot be carried
            along.
    """
    small = copy.deepcopy(model)
    folded = fold(small, example_input) if fold_batchnorm else ()
    kept = apply(small, dead_units(small, example_input, narrow=optimizer is None)).kept
    check_equal(model, small, example_input)
    if optimizer is not None:
        fresh = {f"{layer}.{which}" for layer in folded for which in ("weight", "bias")}
        carry(optimizer, dict(model.named_parameters()), dict(small.named_parameters()), kept, fresh)
    return small


def check_equal(masked: nn.Module, removed: nn.Module, example_input: Tensor) -> None:
    """Compares both networks on ``example_input`` in eval mode, in float64 if they can, so that only their
    weights matter and not how a device rounds (TF32). Both are left untouched.

    Raises:
        RemovalError: If outputs differ by more than :data:`TOLERANCE` of the largest output, or in shape.
    """
    dtype = next((p.dtype for p in masked.parameters()), torch.float32)
    try:
        pairs = [_outputs(copy.deepcopy(m).double(), example_input, double=True) for m in (masked, removed)]
    except (RuntimeError, TypeError):  # no float64 on this device, or a dtype written into the model
        pairs = [_outputs(m, example_input, double=False) for m in (masked, removed)]
    allowed = TOLERANCE.get(dtype, TOLERANCE[torch.float32])
    for before, after in zip(*pairs, strict=True):
        if before.shape != after.shape:
            raise RemovalError(f"Removal changed an output from {tuple(before.shape)} to {tuple(after.shape)}.")
        difference, scale = _largest(before - after), _largest(before) or 1.0
        same = torch.allclose(before, after, rtol=0, atol=allowed * scale, equal_nan=True)
        if not same:
            raise RemovalError(
                f"The removed network disagrees with the masked one: largest difference {difference:.3g} at "
                f"an output scale of {scale:.3g}, allowed {allowed:.0e} of it. The model computes something "
                "that torch.fx does not show; keep it whole (removal: never)."
            )


def _outputs(model: nn.Module, example_input: Tensor, *, double: bool) -> list[Tensor]:
    value = example_input.double() if double and example_input.is_floating_point() else example_input
    with evaluating(model), torch.no_grad(), torch.autocast(value.device.type, enabled=False):
        return [tensor.double().cpu() for tensor in _tensors(model(value))]


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from _tensors(value)


def _largest(tensor: Tensor) -> float:
    return float(tensor.nan_to_num().abs().max()) if tensor.numel() else 0.0
