"""The README.md of an exported network: what it is, how it was found, how to run it, what was verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from prune_search.cost import LayerCost
from prune_search.cost.metrics import METRICS
from prune_search.export.snippets import snippet
from prune_search.export.verify import Verdict

_SHOWN = (
    "accuracy test_accuracy loss sparsity params params_reduction macs flops flops_reduction physical_params"
    " physical_macs latency_ms peak_memory_bytes train_flops_ratio"
).split()


@dataclass(frozen=True)
class CardInfo:
    """What a model card tells.

    Args:
        model: name of the architecture, as in the YAML file.
        dataset: name of the dataset.
        classes: names of the classes, in the order of the logits.
        input_shape: shape of one input, without the batch.
        mean, std: normalisation, per channel (first dimension of an input) or one number; empty: none.
        divide_by: of raw inputs, before ``mean`` and ``std``: 255 for uint8 images, 1 for float data.
        recipe: the recipe as resolved, plain YAML data.
        metrics: of the exported network, by the names of ``cost.metrics.METRICS`` (``Report.metrics()``).
        dense: the same of the dense network, as far as known.
        search, trial, trials, seed: the search, this trial in it, how many were tried, training seed.
        layers: Each Conv and Linear layer, of the dense network and of this one.
        sizes, verdicts, environment: bytes by file name, by format, versions; ``export_network`` fills these.
        tensor_bytes: of the tensors in ``model.safetensors``, zeros included; None without that file; filled likewise.
    """

    model: str
    dataset: str
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: Mapping[str, object] | str
    metrics: Mapping[str, float]
    dense: Mapping[str, float]
    search: str
    trial: int
    trials: int
    seed: int
    divide_by: float = 255.0
    layers: Sequence[tuple[LayerCost, LayerCost]] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    tensor_bytes: int | None = None
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def card(info: CardInfo) -> str:
    """The model card as Markdown."""
    parts = [
        _opening(info),
        _task(info),
        _table(info),
        *([_layers(info)] if info.layers else []),
        _gains(info),
        _usage(info),
        _found(info),
        _verification(info),
        _environment(info),
    ]
    return "\n\n".join(parts) + "\n"


def _opening(info: CardInfo) -> str:
    params, dense = info.metrics.get("params"), info.dense.get("params")
    size = f" It has {params:,} of {dense:,} parameters." if params is not None and dense is not None else ""
    found = f"Trial {info.trial} of the search `{info.search}`.{size}"
    return f"# {info.model} for {info.dataset}, pruned\n\n{found}"


def _task(info: CardInfo) -> str:
    names = ", ".join(info.classes[:20]) + (f", ... ({len(info.classes)} in all)" if len(info.classes) > 20 else "")
    lines = [
        "## Task",
        "",
        f"- Dataset: {info.dataset}",
        f"- Output: logits of {len(info.classes)} classes, in this order: {names}",
        f"- Input: float32 `[N, {', '.join(map(str, info.input_shape))}]`, normalised: values divided"
        f" by {info.divide_by:g}, minus mean {list(info.mean)}, divided by std {list(info.std)}",
    ]
    return "\n".join(lines)


def _number(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if METRICS[name].unit == "x":
        return f"{value:.2f}x"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _table(info: CardInfo) -> str:
    lines = ["## Metrics", "", "| metric | dense | this network | meaning |", "|---|---:|---:|---|"]
    for name in _SHOWN:
        if name in info.metrics:
            values = f"{_number(name, info.dense.get(name))} | {_number(name, info.metrics[name])}"
            lines.append(f"| {name} | {values} | {METRICS[name].unit}: {METRICS[name].meaning} |")
    lines += [
        "",
        "| file | bytes |",
        "|---|---:|",
        *(f"| {name} | {size:,} |" for name, size in info.sizes.items()),
    ]
    return "\n".join(lines)


def _layers(info: CardInfo) -> str:
    lines = [
        "## Layers",
        "",
        "| layer | kind | weight | non-zero | MACs, zeros counted |",
        "|---|---|---:|---:|---:|",
    ]
    for dense, layer in info.layers:
        shapes, macs = ("x".join(map(str, dense.shape)), "x".join(map(str, layer.shape))), layer.physical_macs
        weight = shapes[0] if dense.shape == layer.shape else f"{shapes[0]} to {shapes[1]}"
        fewer = f" ({dense.physical_macs / macs:.2f}x fewer)" if macs < dense.physical_macs else ""
        lines.append(f"| {layer.name} | {dense.kind} | {weight} | {layer.live:,} | {macs:,}{fewer} |")
    return "\n".join(lines)


def _gains(info: CardInfo) -> str:
    removed = (
        "- Removed units (channels, neurons) make the tensors smaller: every runtime gains, and pays"
        " `physical_macs` and `physical_params` only."
    )
    if info.metrics.get("physical_macs") and info.dense.get("macs"):
        ratio = info.dense["macs"] / info.metrics["physical_macs"]
        removed += f" Dense kernels compute {ratio:.2f}x fewer multiply-accumulates than for the dense network."
    zeros = (
        "- Zeros inside the remaining tensors do not speed up dense kernels (torch, onnxruntime), on CPUs or GPUs:"
        " they are multiplied like other numbers. Only runtimes with sparse kernels gain; N:M zeros need hardware"
        " and kernels made for that pattern."
    )
    params, physical = info.metrics.get("params"), info.metrics.get("physical_params")
    if params is not None and physical:
        zeros += f" {1 - params / physical:.1%} of the {physical:,} numbers in the parameters are zeros."
    files = "- Files: pt2 and ONNX store zeros in full."
    if info.tensor_bytes is not None:
        files += (
            " `model.safetensors` stores a tensor with enough zeros as a bitmap and the other values:"
            f" {info.sizes['model.safetensors']:,} bytes, header included, for tensors of {info.tensor_bytes:,}"
            " bytes. `load.py` restores them in full, so memory and speed stay those of dense tensors."
        )
    return "\n".join(["## Which runtime gains from what", "", removed, zeros, files])


def _usage(info: CardInfo) -> str:
    return "\n\n".join(
        ["## How to load it", "Run these in this folder. None of them needs prune-search."]
        + [f"### {name}\n\n{snippet(name, info)}" for name in info.verdicts]
    )


def _found(info: CardInfo) -> str:
    recipe = info.recipe if isinstance(info.recipe, str) else yaml.safe_dump(dict(info.recipe), sort_keys=False)
    return (
        f"## How it was found\n\nSearch `{info.search}`, trial {info.trial}; {info.trials} trials were"
        f" tried, with training seed {info.seed}. The validation split chose this network among them, so its"
        f" accuracy there is a little optimistic; `test_accuracy`, where shown, is not.\n\n"
        f"```yaml\n{recipe.strip()}\n```"
    )


def _verification(info: CardInfo) -> str:
    lines = [
        "## Verification",
        "",
        "Each file was loaded in a new process without prune-search and answered the validation inputs like"
        " the trained network:",
        "",
        "| format | accuracy | largest difference of a logit | largest logit |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {verdict.accuracy:.6f} | {verdict.max_abs_difference:.3g} | {verdict.scale:.4g} |"
        for name, verdict in info.verdicts.items()
    ]
    return "\n".join(lines)


def _environment(info: CardInfo) -> str:
    return "\n".join(["## Environment", "", *(f"- {name}: {value}" for name, value in info.environment.items())])
