"""Training steps as CUDA graphs: the host starts a whole step at once instead of each of its kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

WARMUP = 3  # steps before the capture, on a stream of their own: as torch's documentation of CUDA graphs advises

Step = Callable[[Tensor, Tensor], Tensor]


class Replay:
    """Calls ``step(inputs, labels)``; after :data:`WARMUP` calls it is captured, and replayed on batches of that shape.

    A step must do the same kernels each time: nothing of it may be decided in Python by anything that changes between steps.
    What cannot be captured (``failed``: it waits for the GPU, say) runs as it is.
    """

    def __init__(self, step: Step) -> None:
        self.step, self.failed, self._calls = step, False, 0
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs = self._labels = self._loss = torch.empty(0)

    def __call__(self, inputs: Tensor, labels: Tensor) -> Tensor:
        self._calls += 1
        if self.failed or self._calls <= WARMUP:
            return self._aside(inputs, labels)
        if self._graph is None:
            self._capture(inputs, labels)
        if self.failed or inputs.shape != self._inputs.shape:
            return self._aside(inputs, labels)
        self._inputs.copy_(inputs)
        self._labels.copy_(labels)
        self._graph.replay()
        return self._loss

    def _aside(self, inputs: Tensor, labels: Tensor) -> Tensor:
        if self.failed:
            return self.step(inputs, labels)
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            loss = self.step(inputs, labels)
        here.wait_stream(self._stream)
        return loss

    def _capture(self, inputs: Tensor, labels: Tensor) -> None:
        self._inputs, self._labels = inputs.clone(), labels.clone()
        graph, generator = torch.cuda.CUDAGraph(), torch.cuda.default_generators[torch.cuda.current_device()]
        before = generator.clone_state()
        with torch.cuda.stream(torch.cuda.current_stream()):  # a capture that fails does not go back to it
            try:
                with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                    self._loss = self.step(self._inputs, self._labels)
                self._graph = graph
            except RuntimeError:
                self.failed = True
                generator.graphsafe_set_state(before)  # it would wait for the end of the capture for good


@contextmanager
def replayed(step: Step, optimizer: torch.optim.Optimizer) -> Iterator[Replay]:
    """A :class:`Replay` of a step of ``optimizer``, whose learning rates are tensors on the GPU within the block."""
    device = next(p.device for group in optimizer.param_groups for p in group["params"])
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
    try:
        yield Replay(step)
    finally:
        for group in optimizer.param_groups:
            group["lr"] = float(group["lr"])
