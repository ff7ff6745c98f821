"""Does every preset train on a GPU as it does on the CPU?

    python -m tests.benchmarks.gpu.presets [--presets dyprune neq] [--model resnet-20] [--processes 12]

Each preset for six epochs on 640 images of shifted, noisy patterns, in float32: on the CPU, on the GPU, there step by step
without CUDA graphs, resumed from its checkpoint after three epochs, and in bf16. All go by one seed, so schedules that look
at no measurement keep as many weights on CPU and GPU; accuracies are near each other, not equal. A trial without graphs and
a resumed one must be the trial: the largest differences of their losses are shown. Last, a model that cannot be captured.
"""

from __future__ import annotations

import argparse
import tempfile
import traceback
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import nn

from prune_search.pruning.presets import PRESETS
from prune_search.spec.config import TrialConfig
from prune_search.training.data import cached_data
from prune_search.training.trial import Trial

EPOCHS = 6


def patterns(train_size: int, validation_size: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Ten patterns of 3x32x32, each image one of them, shifted and under noise: uint8."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.randint(80, 176, (10, 3, 8, 8), generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)
    count = train_size + 2 * validation_size
    labels = torch.randint(10, (count,), generator=generator)
    noise = torch.randint(-60, 61, (count, 3, 32, 32), generator=generator)
    images = (shapes[labels] + noise).clamp(0, 255).to(torch.uint8)
    cut = train_size + validation_size
    return {"train": (images[:cut].numpy(), labels[:cut].numpy()), "test": (images[cut:].numpy(), labels[cut:].numpy())}


def config(preset: str, model: str, **training: object) -> TrialConfig:
    return TrialConfig.from_dict(
        {
            "seed": 0,
            "data": {
                "name": "tests.benchmarks.gpu.presets:patterns",
                "root": ".",
                "train_size": 640,
                "validation_size": 200,
                "augment": "crop+flip",
            },
            "model": {"name": model},
            "training": {
                "epochs": EPOCHS,
                "batch_size": 64,
                "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
                "schedule": "cosine",
                "precision": "fp32",
                **training,
            },
            "recipe": {"preset": preset},
        }
    )


class Waits(nn.Sequential):
    """A model that no graph can hold: it waits for the GPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if x.sum().item() else x.flatten(1)


def waits(num_classes: int) -> nn.Module:
    return Waits(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(8 * 30 * 30, num_classes))


def trained(preset: str, model: str, device: str, cut: int | None = None, **training: object) -> list:
    """The reports; with ``cut``, of a trial that is built again from its checkpoint after so many epochs."""
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    chosen = config(preset, model, **training)
    data = cached_data(chosen.data, device)
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(chosen, data, Path(folder), device=device)
        while not trial.finished:
            if trial.epoch == cut:
                trial, cut = Trial(chosen, data, Path(folder), device=device), None
                continue
            trial.run_epoch()
    return trial.reports


def line(preset: str, model: str, device: str) -> str:
    try:
        runs = {
            "cpu": trained(preset, model, "cpu"),
            "gpu": trained(preset, model, device, cuda_graphs=True),
            "steps": trained(preset, model, device, cuda_graphs=False),
            "resumed": trained(preset, model, device, EPOCHS // 2, cuda_graphs=True),
            "bf16": trained(preset, model, device, cuda_graphs=True, precision="bf16"),
        }
    except Exception:
        return f"{preset}: FAILED\n{traceback.format_exc()}"
    apart = {name: max(abs(a.loss - b.loss) for a, b in zip(runs["gpu"], runs[name])) for name in ("steps", "resumed")}
    ends = {name: r[-1] for name, r in runs.items() if name not in apart}
    cells = [f"{name} {end.accuracy:.3f} at {end.params:.0f} weights" for name, end in ends.items()]
    return f"{preset}: {'; '.join(cells)}; " + ", ".join(
        f"{name} differs by {value:.2g}" for name, value in apart.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="*", default=list(PRESETS))
    parser.add_argument("--model", default="resnet-20")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=12)
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        waiting = pool.submit(line, "dense", f"{__spec__.name}:waits", options.device)
        for text in pool.map(line, options.presets, repeat(options.model), repeat(options.device)):
            print(text, flush=True)
        print("a model that waits,", waiting.result())


if __name__ == "__main__":
    main()
