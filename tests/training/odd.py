"""Networks and data that are rare but allowed, or wrong in a way that must have a name."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Odd(nn.Module):
    """64 pixels -> 16 -> classes, with something odd at the 16 hidden units, or at the weights."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 16), nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.odd(self.first(x.flatten(1)).relu()))

    def odd(self, hidden: Tensor) -> Tensor:
        return hidden


class Frozen(Odd):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.first.requires_grad_(False)


class Tied(Odd):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.there, self.back = nn.Linear(16, 16), nn.Linear(16, 16)
        self.back.weight = self.there.weight

    def odd(self, hidden: Tensor) -> Tensor:
        return self.back(self.there(hidden).relu())


class SparseGradient(Odd):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.table = nn.Embedding(16, 16, sparse=True)

    def odd(self, hidden: Tensor) -> Tensor:
        return hidden + self.table(hidden.detach().argmax(1))


class Complex(Odd):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.turn = nn.Parameter(torch.polar(torch.ones(16), torch.linspace(0, 1, 16)))

    def odd(self, hidden: Tensor) -> Tensor:
        return (hidden * self.turn).real


class Whole(Odd):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.order = nn.Parameter(torch.arange(15, -1, -1), requires_grad=False)

    def odd(self, hidden: Tensor) -> Tensor:
        return hidden[:, self.order]


class Scalar(Odd):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.gain = nn.Parameter(torch.tensor(1.0))

    def odd(self, hidden: Tensor) -> Tensor:
        return hidden * self.gain


class Unused(Odd):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.never = nn.Linear(3, 3)


class Twice(Odd):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.square = nn.Linear(16, 16)

    def odd(self, hidden: Tensor) -> Tensor:
        return self.square(self.square(hidden).relu())


class Norm(Odd):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.norm = nn.BatchNorm1d(16)

    def odd(self, hidden: Tensor) -> Tensor:
        return self.norm(hidden)


class Lazy(nn.Sequential):
    def __init__(self, classes: int) -> None:
        super().__init__(nn.Flatten(), nn.LazyLinear(16), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(classes))


class Pair(Odd):
    def forward(self, x: Tensor):
        return super().forward(x), x


class Dictionary(Odd):
    def forward(self, x: Tensor):
        return {"scores": super().forward(x)}


class PairInTraining(Odd):
    def forward(self, x: Tensor):
        return (super().forward(x), x) if self.training else super().forward(x)


class BrokenWeight(Odd):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.first.weight.data[3, 5] = torch.nan


class BrokenStatistics(Norm):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.norm.running_var[3] = torch.inf
        self.norm.momentum = 0.0
        self.norm.running_mean[3] = torch.inf


class Steep(Odd):
    """Its loss is finite, the gradient of the square root at 0 is not."""

    def odd(self, hidden: Tensor) -> Tensor:
        return (hidden - hidden.detach()).abs().sqrt() + hidden


class Half(Odd):
    """float16 inside: what is above 65,504 becomes infinite."""

    def odd(self, hidden: Tensor) -> Tensor:
        return (hidden.half() * 60_000 * 4).float()


def build(kind, input_shape, num_classes):
    return globals()[kind](num_classes)


def data(kind):
    """300 and 100 images of 8x8 pixels."""
    draw = torch.Generator().manual_seed(0)
    images, labels = torch.rand(400, 1, 8, 8, generator=draw), torch.randint(0, 3, (400,), generator=draw)
    images[torch.arange(400), 0, 0, labels] += 2.0
    train, validation, classes = slice(0, 300), slice(300, 400), ["a", "b", "c"]
    if kind == "one-label":
        labels[:] = 1
    if kind == "one-class":
        labels[:], classes = 0, ["a"]
    if kind == "one-class-validation":
        labels[validation] = 2
    if kind == "rest-of-one":
        train = slice(0, 251)
    if kind == "still":
        images[:, 0, 4:] = 0.5
    if kind == "same":
        images[:] = 0.5
    if kind == "huge":
        images *= 1e30
    if kind == "empty":
        train = slice(0, 0)
    return {
        "train": (images[train], labels[train]),
        "validation": (images[validation], labels[validation]),
        "test": (images[validation], labels[validation]),
        "classes": classes,
    }
