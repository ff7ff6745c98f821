"""FLOP of training, from the multiply-accumulates in force. Importable without torch."""

from __future__ import annotations


def forward_flops(macs: float, images: int) -> float:
    """FLOP of a forward pass over ``images`` inputs of ``macs`` multiply-accumulates: 2 x macs x images."""
    return 2.0 * macs * images


def step_flops(macs: float, images: int, frozen_macs: float = 0.0) -> float:
    """FLOP of training on ``images`` inputs of ``macs`` multiply-accumulates each; for ``frozen_macs`` of them no gradient
    of the weights is computed.

    One forward pass and a backward pass of twice its cost (gradients of inputs and of weights), the usual
    convention: 3 x 2 x macs x images. The optimizer's own arithmetic is not counted.
    """
    return 3.0 * forward_flops(macs, images) - forward_flops(frozen_macs, images)
