"""Do trials on one machine share one copy of the data?

    python -m tests.benchmarks.memory --folder CIFAR10 [--trials 8]

Starts so many processes, each with a trial of resnet-20 on all training images of a folder (train/CLASS/*.jpg) but 5,000, and lets each
read them all. Prints the megabytes of images, how much of them is resident in each process (Rss), and what all hold together (the
sum of Pss: a page that n processes share counts 1/n in each), from /proc (Linux).
"""

from __future__ import annotations

import argparse
import tempfile
from multiprocessing import get_context
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path


def held() -> tuple[float, float]:
    """(Rss, Pss) of this process's mappings of decoded images, MB."""
    found, mine = {"Rss": 0, "Pss": 0}, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if not first.endswith(":"):
            mine = line.endswith(".safetensors")
        elif mine and first[:-1] in found:
            found[first[:-1]] += int(line.split()[1])
    return found["Rss"] * 1.024e-3, found["Pss"] * 1.024e-3


def train(root: str, gate: Barrier, results: Queue) -> None:
    import torch

    from prune_search.spec.config import TrialConfig
    from prune_search.training.data import cached_data
    from prune_search.training.trial import Trial

    torch.set_num_threads(1)
    config = TrialConfig.from_dict(
        {
            "data": {"name": "folder", "root": root, "validation_size": 5000},
            "model": "resnet-20",
            "training": {"epochs": 1},
            "recipe": "dense",
        }
    )
    data = cached_data(config.data, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        Trial(config, data, Path(folder))
        for images in data.train.images.split(1000):
            images.sum()
        gate.wait()
        own = Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]
        results.put((*held(), int(own) * 1.024e-3, data.train.images.nbytes / 1e6))
        gate.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=8)
    options = parser.parse_args()
    context = get_context("spawn")
    gate, results = context.Barrier(options.trials), context.Queue()
    arguments = (str(options.folder.absolute()), gate, results)
    processes = [context.Process(target=train, args=arguments) for _ in range(options.trials)]
    for process in processes:
        process.start()
    rows = [results.get() for _ in processes]
    for process in processes:
        process.join()
    print(f"images: {rows[0][3]:.0f} MB")
    print(f"resident in each of {len(rows)}: {min(r[0] for r in rows):.0f} to {max(r[0] for r in rows):.0f} MB")
    print(f"held by all together: {sum(r[1] for r in rows):.0f} MB")
    print(f"private memory of a process: {min(r[2] for r in rows):.0f} to {max(r[2] for r in rows):.0f} MB")


if __name__ == "__main__":
    main()
