"""How a neuron's outputs turn from epoch to epoch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prune_search.cost.layers import TRANSPOSED, owns_weight, weight_of
from prune_search.pruning.measurement.gradient import BATCH
from prune_search.pruning.traceless import traceless

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def outputs(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Weight -> outputs float32 [N, C, positions] of its layer or batch norm, before the activation, in eval mode.

    Watched are modules called once that have a weight of their own; the last Conv or Linear, the head, is not.
    """
    found: dict[str, list[Tensor]] = {}
    last, handles = [], []

    def watch(name: str, module: nn.Module) -> None:
        def note(module: nn.Module, given: tuple, output: Tensor) -> None:
            if isinstance(module, LAYERS):
                last[:] = [name]
            value = output.movedim(-1, 1) if isinstance(module, nn.Linear) else output
            found.setdefault(name, []).append(value.detach().float().reshape(*value.shape[:2], -1).clone())

        handles.append(module.register_forward_hook(note))

    for name, module in model.named_modules():
        kind = isinstance(module, (*LAYERS, *NORMS)) and not isinstance(module, TRANSPOSED)
        if kind and owns_weight(module):
            watch(weight_of(name), module)
    try:
        with traceless(model), torch.no_grad():
            batches = inputs.split(BATCH)
            for batch in batches:
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return {n: torch.cat(calls) for n, calls in found.items() if n not in last and len(calls) == len(batches)}


def similarity(now: Tensor, before: Tensor) -> Tensor:
    """phi, float32 [C]: the cosine of two outputs [N, C, positions], a mean over images; 1 of two zeros, 0 of one."""
    products = (now * before).sum(2)
    norms = now.norm(dim=2), before.norm(dim=2)
    still, zero = (norms[0] == 0) & (norms[1] == 0), (norms[0] == 0) | (norms[1] == 0)
    cosine = torch.where(zero, 0.0, products / (norms[0] * norms[1]).clamp(min=1e-30))
    return torch.where(still, 1.0, cosine).mean(0)


class Velocity:
    """The recursions of the paper and of the published code, on tensors of any shape.

    ``paper``: v = D - mu v', with D = phi - phi' and primes for the epoch before. ``code``: v = D - m', with
    m = mu m' + (1 - mu) D. They start from phi' = 1 and v' = m' = 0.
    """

    def __init__(self, mode: str, mu: float):
        self.mode, self.mu = mode, mu

    def __call__(self, phi: Tensor, state: dict[str, Tensor]) -> Tensor:
        """The velocity; ``state`` (``phi`` and ``memory``) is brought up to date."""
        change, memory = phi - state.get("phi", torch.ones_like(phi)), state.get("memory", torch.zeros_like(phi))
        velocity = change - (self.mu * memory if self.mode == "paper" else memory)
        state["phi"] = phi
        state["memory"] = velocity if self.mode == "paper" else self.mu * memory + (1 - self.mu) * change
        return velocity
