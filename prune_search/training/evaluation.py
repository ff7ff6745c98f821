"""Loss and accuracy of a network on a split."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from prune_search.errors import UserError
from prune_search.training.ranks import SOLO, Ranks
from prune_search.zoo.data import Data, Split

BATCH, CPU_BATCH = 1000, 128
"""Images at once. On a CPU activations should fit its caches: ResNet-20 takes half the time that 1000 at once do (one thread)."""


@torch.inference_mode()
def logits(model: nn.Module, data: Data, split: Split, batch: int | None = None, ranks: Ranks = SOLO) -> Tensor:
    """Outputs [N, classes] in eval mode, float32, on the model's device; the model's mode is restored.

    ``ranks`` divide the batches; only the first has all outputs then. ``batch`` None: as the device likes it.
    """
    batch = batch or (CPU_BATCH if split.images.device.type == "cpu" else BATCH)
    mode = model.training
    model.eval()
    outputs = ranks.spread(split.images.split(batch), lambda images: model(data.inputs(images)).float())
    model.train(mode)
    return torch.cat(outputs) if outputs else torch.empty(0)


def cross_entropy(outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """torch's, of scores [N, classes]; the mean over the batch.

    Raises:
        UserError: The model gives no tensor, as some do in training alone.
    """
    if not isinstance(outputs, Tensor):
        raise UserError(
            f"The model gives a {type(outputs).__name__} in training; a tensor of scores is needed, one for each class. Let it "
            "return only that, or name a function of your own as training.loss that takes what it gives."
        )
    return nn.functional.cross_entropy(outputs, labels, label_smoothing=label_smoothing)


def accuracy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Share of images whose largest output is the label's."""
    return (outputs.argmax(1) == labels).double().mean()


def evaluate(
    model: nn.Module,
    data: Data,
    split: Split,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    metric: Callable[[Tensor, Tensor], Tensor] = accuracy,
    ranks: Ranks = SOLO,
) -> tuple[float, float]:
    """(mean loss per image, metric) on a split; NaN at other ranks than the first."""
    outputs = logits(model, data, split, ranks=ranks)
    if not ranks.first:
        return math.nan, math.nan
    return float(loss(outputs, split.labels)), float(metric(outputs, split.labels))
