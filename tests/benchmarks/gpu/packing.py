"""How many trials should share one GPU?

    python -m tests.benchmarks.gpu.packing [--models resnet-20 resnet-56 resnet-18-cifar vgg-19] [--at-once 1 2 4 8 16]

As ``prune-search doctor --packing``, for several networks on random images of CIFAR-10's size. Prints images trained a second, all
processes together and as a ratio to one alone.
"""

from __future__ import annotations

import argparse

import torch

from prune_search.training.packing import rates


def noise(train_size: int, validation_size: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    count = train_size + validation_size
    images = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (count,), generator=generator)
    labels[:10] = torch.arange(10)
    return {"train": (images, labels), "test": (images[:10], labels[:10])}


def config(model: str, images: int, batch: int) -> dict:
    sizes = {"train_size": images, "validation_size": images // 6}
    return {
        "seed": 0,
        "data": {"name": "tests.benchmarks.gpu.packing:noise", "root": ".", **sizes, "augment": "crop+flip"},
        "model": {"name": model},
        "training": {"epochs": 1, "batch_size": batch, "optimizer": {"name": "sgd", "lr": 0.01}},
        "recipe": "dense",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["resnet-20", "resnet-56", "resnet-18-cifar", "vgg-19"])
    parser.add_argument("--at-once", nargs="*", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--images", type=int, default=12800)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    for model in options.models:
        alone, chosen = None, config(model, options.images, options.batch)
        for together, rate in rates(chosen, options.at_once, device=options.device, seconds=options.seconds):
            alone = alone or rate
            print(f"{model:16} {together:3} at once: {rate:9.0f} images/s, {rate / alone:.2f}x", flush=True)


if __name__ == "__main__":
    main()
