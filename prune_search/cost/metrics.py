"""The metrics that a trial reports, with their exact definitions and units. Importable without torch.

``dense`` always means the network before anything was pruned, all of its entries counted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Metric:
    """A metric: which direction is better (None: progress, not an objective), its unit and its meaning."""

    better: str | None
    unit: str
    meaning: str


METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        "maximize", "share in [0, 1]", "of correct answers on the validation split; what the search sees"
    ),
    "loss": Metric("minimize", "nats", "mean loss per image on the validation split"),
    "test_accuracy": Metric(
        None, "share in [0, 1]", "on the test split; computed once for trials of the front, after selection"
    ),
    "sparsity": Metric(
        "maximize", "share in [0, 1]", "zero or removed share of all Conv and Linear weights of the dense network"
    ),
    "params": Metric(
        "minimize", "count", "non-zero parameters, biases and norms included, after removal with batch norm kept"
    ),
    "macs": Metric(
        "minimize",
        "multiply-accumulates per input",
        "by non-zero weights in eval mode, after removal with batch norm kept",
    ),
    "flops": Metric("minimize", "FLOP per input", "2 x macs"),
    "params_reduction": Metric("maximize", "x", "parameters of the dense network / params"),
    "flops_reduction": Metric("maximize", "x", "flops of the dense network / flops"),
    "physical_params": Metric("minimize", "count", "parameters after removal, zeros inside tensors counted"),
    "physical_macs": Metric(
        "minimize", "multiply-accumulates per input", "after removal, zeros inside tensors counted"
    ),
    "train_flops": Metric(
        "minimize", "FLOP", "forward + backward of all epochs so far by live weights, measurements included"
    ),
    "train_flops_ratio": Metric(
        "minimize", "share", "train_flops / FLOP of training the dense network for all of its epochs"
    ),
    "train_flops_spent": Metric(
        "minimize", "FLOP", "really computed for this trial, where work was shared with others"
    ),
    "latency_ms": Metric("minimize", "ms", "one forward pass of the removed network, median"),
    "size_bytes": Metric(
        "minimize",
        "bytes",
        "safetensors file of the removed network; tensors as bitmap and non-zero values where that is smaller",
    ),
    "peak_memory_bytes": Metric(
        "minimize", "bytes", "peak of one forward pass of the removed network, weights included"
    ),
    "epoch": Metric(None, "count", "epochs trained"),
    "events": Metric(None, "count", "pruning events so far that changed the network"),
    "live_after_masking": Metric(
        None, "count", "prunable weights left right after the last masking, before any removal"
    ),
    "train_loss": Metric(None, "nats", "mean loss per image over the epoch, in train mode"),
    "seconds": Metric("minimize", "s", "wall time of this trial so far"),
    "device_seconds": Metric("minimize", "s", "seconds x devices (cores without a GPU) it held"),
}

OBJECTIVES = {name: metric.better for name, metric in METRICS.items() if metric.better}
MEASURED = ("latency_ms", "size_bytes", "peak_memory_bytes")  # measured only where a search names them


@dataclass(frozen=True)
class Report:
    """What one epoch of a trial amounts to. All fields describe the one network that was validated.

    The definitions are those of :data:`METRICS`; fields that were not measured are None.
    """

    epoch: int
    accuracy: float
    loss: float
    train_loss: float
    sparsity: float
    params: int
    macs: int
    flops: int
    params_reduction: float
    flops_reduction: float
    physical_params: int
    physical_macs: int
    train_flops: float
    train_flops_ratio: float
    train_flops_spent: float
    events: int
    live_after_masking: int
    seconds: float
    device_seconds: float
    latency_ms: float | None = None
    size_bytes: int | None = None
    peak_memory_bytes: int | None = None
    test_accuracy: float | None = None

    def metrics(self) -> dict[str, float]:
        """The fields that have a value, by name, as JSON numbers."""
        return {name: value for name, value in asdict(self).items() if value is not None}
