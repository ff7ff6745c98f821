"""How many trials should share one GPU?

    python -m tests.benchmarks.gpu.packing [--models resnet-20 resnet-56 resnet-18-cifar vgg-19] [--at-once 1 2 4 8 16]

Dense trials of one network in as many processes on random images of CIFAR-10's size, bf16: whole epochs with validation,
removal, report and checkpoint (in memory). All start together and count until the seconds are over. Prints images trained a
second, all processes together and as a ratio to one alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from multiprocessing import Queue, get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from prune_search.spec.config import TrialConfig
from prune_search.training.data import cached_data
from prune_search.training.trial import Trial


def noise(train_size: int, validation_size: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    count = train_size + validation_size
    images = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (count,), generator=generator)
    labels[:10] = torch.arange(10)
    return {"train": (images, labels), "test": (images[:10], labels[:10])}


def trial(model: str, images: int, batch: int, device: str, folder: Path) -> Trial:
    config = TrialConfig.from_dict(
        {
            "seed": 0,
            "data": {
                "name": "tests.benchmarks.gpu.packing:noise",
                "root": ".",
                "train_size": images,
                "validation_size": images // 6,
                "augment": "crop+flip",
            },
            "model": {"name": model},
            "training": {"epochs": 10**6, "batch_size": batch, "optimizer": {"name": "sgd", "lr": 0.01}},
            "recipe": "dense",
        }
    )
    return Trial(config, cached_data(config.data, device), folder, device=device)


def worker(number: int, options: argparse.Namespace, gate: Barrier, results: Queue) -> None:
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    for model in options.models:
        mine = trial(model, options.images, options.batch, options.device, folder / model)
        mine.run_epoch()
        for together in options.at_once:
            gate.wait()
            epochs, started = 0, time.perf_counter()
            while number < together and time.perf_counter() - started < options.seconds:
                mine.run_epoch()
                epochs += 1
            passed = time.perf_counter() - started
            results.put((model, together, epochs * options.images / passed if epochs else 0.0))
            gate.wait()
        del mine
        if options.device == "cuda":
            torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["resnet-20", "resnet-56", "resnet-18-cifar", "vgg-19"])
    parser.add_argument("--at-once", nargs="*", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--images", type=int, default=12800)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    context = get_context("spawn")
    most = max(options.at_once)
    gate, results = context.Barrier(most), context.Queue()
    workers = [context.Process(target=worker, args=(number, options, gate, results)) for number in range(most)]
    for process in workers:
        process.start()
    for model in options.models:
        alone = None
        for together in options.at_once:
            rate = sum(results.get()[2] for _ in range(most))
            alone = alone or rate
            print(f"{model:16} {together:3} at once: {rate:9.0f} images/s, {rate / alone:.2f}x", flush=True)
    for process in workers:
        process.join()


if __name__ == "__main__":
    main()
