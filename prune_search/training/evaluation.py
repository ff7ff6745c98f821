"""Loss and accuracy of a network on a split."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from prune_search.zoo.data import Data, Split

EVALUATION_BATCH = 1000


@torch.inference_mode()
def logits(model: nn.Module, data: Data, split: Split, batch: int = EVALUATION_BATCH) -> Tensor:
    """Outputs [N, classes] in eval mode, float32, on the model's device; the model's mode is restored."""
    mode = model.training
    model.eval()
    outputs = [model(data.inputs(images)).float() for images in split.images.split(batch)]
    model.train(mode)
    return torch.cat(outputs)


def accuracy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Share of images whose largest output is the label's."""
    return (outputs.argmax(1) == labels).double().mean()


def evaluate(
    model: nn.Module,
    data: Data,
    split: Split,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    metric: Callable[[Tensor, Tensor], Tensor] = accuracy,
) -> tuple[float, float]:
    """(mean loss per image, metric) on a split."""
    outputs = logits(model, data, split)
    return float(loss(outputs, split.labels)), float(metric(outputs, split.labels))
