"""The processes that train one trial together: what each does of a batch, and how all come to the same network.

Each rank holds the whole network. Steps are data-parallel; whatever decides (scores, events, removal, validation) happens at the
first rank alone, and the others take over its network, optimizer and pruning state before every epoch. So ranks agree by
construction, also where their devices round differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_leaves, tree_map_only

T = TypeVar("T")
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Ranks:
    """This process among those of a trial. With ``size`` 1 every method is the plain thing.

    Attributes:
        rank: Of this process; 0 is the first, the one that decides.
        size: Processes.
        device: Where tensors are exchanged: ``cuda`` under NCCL, ``cpu`` under Gloo.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        return self.rank == 0

    def part(self, batch: Tensor) -> Tensor:
        """This rank's share of a batch. All are equal, so that the mean of their gradients is that of the batch; what does not
        divide is left out.
        """
        each = len(batch) // self.size
        return batch[self.rank * each : (self.rank + 1) * each]

    def share(self, take: Callable[[], T]) -> T:
        """What ``take()`` gives at the first rank, bit for bit: nested dicts, lists and tuples of tensors and plain values.

        Tensors come to the other ranks as copies, on devices of the same kind.
        """
        if self.size == 1:
            return take()
        value = take() if self.first else None
        box = [tree_map_only(Tensor, _Form.of, value)]
        distributed.broadcast_object_list(box, src=0, device=torch.device(self.device))
        forms = [leaf for leaf in tree_leaves(box[0]) if isinstance(leaf, _Form)]
        buffer = torch.empty(sum(form.bytes for form in forms), dtype=torch.uint8, device=self.device)
        if self.first:
            tensors = [leaf for leaf in tree_leaves(value) if torch.is_tensor(leaf)]
            for part, tensor in zip(_parts(buffer, forms), tensors, strict=True):
                part.copy_(tensor.detach().contiguous().reshape(-1).view(torch.uint8))
        if forms:
            distributed.broadcast(buffer, src=0)
        if self.first:
            return value
        parts = _parts(buffer, forms)
        return tree_map_only(_Form, lambda form: form.read(next(parts)), box[0])

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all ranks."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value / self.size

    def spread(self, items: Sequence[Tensor], function: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """``function`` of each item, dealt out to the ranks; the results, in order, are complete at the first rank only."""
        own = [function(item) for item in items[self.rank :: self.size]]
        if self.size == 1:
            return own
        dealt: list[Any] = [None] * self.size
        distributed.gather_object([result.cpu() for result in own], dealt if self.first else None, dst=0)
        if not self.first:
            return own
        device = items[0].device
        return [dealt[i % self.size][i // self.size].to(device) for i in range(len(items))]

    @contextmanager
    def parallel(self, model: nn.Module, synchronized: bool = False) -> Iterator[nn.Module]:
        """The model as it is trained: under DDP its gradients are averaged over ranks, its buffers are the first rank's
        before every forward pass and in the end. For as long as no parameter is replaced, frozen or thawed; keep no
        reference to it beyond that, it would go on averaging.

        Args:
            synchronized: Batch norm takes its statistics over all ranks; GPUs only.
        """
        if self.size == 1:
            yield model
            return
        with _synchronized(model) if synchronized else nullcontext():
            yield DistributedDataParallel(model, static_graph=True)
        buffers = self.share(lambda: dict(model.named_buffers()))
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])


SOLO = Ranks()


@contextmanager
def _synchronized(model: nn.Module) -> Iterator[None]:
    """Plain batch norms are torch's SyncBatchNorm for as long, the same modules: nobody's references to them break."""
    norms = [(module, type(module)) for module in model.modules() if type(module) in BATCH_NORMS]
    for norm, _ in norms:
        norm.__class__, norm.process_group = nn.SyncBatchNorm, None
    try:
        yield
    finally:
        for norm, kind in norms:
            norm.__class__ = kind
            del norm.process_group


@dataclass(frozen=True)
class _Form:
    """A tensor without its values."""

    shape: torch.Size
    dtype: torch.dtype
    device: str

    @classmethod
    def of(cls, tensor: Tensor) -> _Form:
        return cls(tensor.shape, tensor.dtype, tensor.device.type)

    @property
    def bytes(self) -> int:
        return self.shape.numel() * self.dtype.itemsize

    def read(self, part: Tensor) -> Tensor:
        return part.clone().view(self.dtype).reshape(self.shape).to(self.device)


def _parts(buffer: Tensor, forms: Sequence[_Form]) -> Iterator[Tensor]:
    return iter(buffer.split([form.bytes for form in forms]))


def join(rank: int, size: int, address: str, device: str) -> Ranks:
    """Meet the other ranks at ``address`` (``tcp://HOST:PORT``, served by the first), under NCCL on ``cuda``, Gloo on ``cpu``."""
    backend = "nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=address, rank=rank, world_size=size)
    return Ranks(rank, size, device)


def leave() -> None:
    """End what :func:`join` began."""
    distributed.destroy_process_group()
