"""Trials an hour of this project beside the script that a user would write (:mod:`tests.benchmarks.script`), alternating.

    python -m tests.benchmarks.against_script --root data [--task mnist|cifar] [--trials 30] [--rounds 3] [--workers 2] [--seconds S]
    python -m tests.benchmarks.against_script --root data --task cifar --device cuda --workers 4 --loaders 3 [--model resnet-18-cifar] \\
        [--images 45000] [--epochs 10] [--trials 8]

Both run as commands of their own and are timed from command to exit: imports, Ray, MLflow and reading the front included. The same
configurations (drawn at random: learning rate, sparsity, when to prune), batches, epochs, threads, train and validation images; nobody
is stopped early. mnist: lenet-300-100, 12,000 images, 8 epochs, batch 64. cifar: resnet-20, 5,000 images, 3 epochs, batch 128; ``--root``
has the folders train/CLASS/*.jpg. Prints for each round the trials an hour, their ratio, the difference in accuracy (ours less the
script's, the same configurations, mean and standard error), and how far ours is above the least there can be: a bare loop's seconds
of training, measured in the same round, times trials over workers. With ``--device cuda`` all trials share one GPU, in bf16 autocast both; ``--loaders``
processes load the script's images for each of its trials; the bare loop has the GPU to itself, one trial after another.

With ``--seconds`` both sample by themselves for that long (TPE both; ours stops bad trials early), and the ratio is that of the
hypervolumes of what they completed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
TASKS = {
    "mnist": {
        "data": "MNIST", "model": "lenet-300-100", "shape": [1, 28, 28],
        "train_size": 12000, "validation_size": 2000, "epochs": 8, "batch_size": 64,
    },
    "cifar": {
        "data": "folder", "model": "resnet-20", "shape": [3, 32, 32],
        "train_size": 5000, "validation_size": 1000, "epochs": 3, "batch_size": 128,
    },
}  # fmt: skip
OBJECTIVES = {"accuracy": "maximize", "params": "minimize"}
Figures = list[dict[str, Any]]


def draw(trials: int, epochs: int, seed: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {
            "lr": float(np.exp(random.uniform(np.log(0.02), np.log(0.3)))),
            "final_sparsity": float(random.uniform(0.5, 0.99)),
            "dense_epochs": int(random.integers(1, epochs)),
        }
        for _ in range(trials)
    ]


def run(command: list[str]) -> tuple[float, str]:
    """Wall seconds from command to exit, and what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-4000:])
    return seconds, done.stdout


def theirs(task: dict[str, Any], folder: Path) -> tuple[float, Figures]:
    file = folder / "task.json"
    file.write_text(json.dumps({**task, "folder": str(folder)}))
    seconds, out = run(["tests.benchmarks.script", str(file)])
    return seconds, [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def ours(task: dict[str, Any], folder: Path) -> tuple[float, Figures]:
    trial = task["trial"]
    keys = {
        "lr": "training.optimizer.lr",
        "final_sparsity": "recipe.schedule.one-shot.final_sparsity",
        "dense_epochs": "recipe.dense_epochs",
    }
    space = {
        "name": "ours",
        "data": {"name": trial["data"], "root": trial["root"]}
        | {key: trial[key] for key in ("train_size", "validation_size")},
        "model": trial["model"],
        "training": {
            "epochs": trial["epochs"],
            "batch_size": trial["batch_size"],
            "optimizer": {"name": "sgd", "lr": {"low": 0.02, "high": 0.3, "log": True}, "momentum": 0.9, "weight_decay": 5e-4},
        },
        "recipe": {
            "preset": "magnitude",
            "dense_epochs": {"low": 1, "high": trial["epochs"] - 1},
            "schedule": {"one-shot": {"final_sparsity": {"low": 0.5, "high": 0.99}}},
        },
        "objectives": OBJECTIVES,
        "resources": {"gpus_per_worker": task["gpus"]} if task["gpus"] else {},
        "search": {
            "trials": task["trials"],
            "time": task["seconds"] and f"{task['seconds']}s",
            "seed": task["seed"],
            "concurrency": task["workers"],
            "early_stopping": "none" if task["trials"] else "moasha-schedule-aware",
            "defaults_first": not task["configurations"],
            "enqueue": [{keys[key]: value for key, value in each.items()} for each in task["configurations"]],
        },
    }  # fmt: skip
    (folder / "ours.yaml").write_text(json.dumps(space))
    command = ["prune_search.cli.main", "run", str(folder / "ours.yaml"), "--name", "ours", "--runs", str(folder)]
    seconds, _ = run(command)
    from prune_search.search.layout import existing
    from prune_search.search.results import read

    layout = existing(folder, "ours")
    return seconds, [
        {"number": r.number, "accuracy": r.report.accuracy, "params": r.report.params, "seconds": r.report.seconds}
        for r in read(layout, layout.spec()).completed
    ]


def bare(task: dict[str, Any]) -> float:
    """CPU seconds of one trial's training in the plainest loop, data in memory; in a process of its own."""
    code = f"import json; from tests.benchmarks.against_script import loop; print(loop(json.loads({json.dumps(json.dumps(task['trial']))})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True
    )  # fmt: skip
    return float(done.stdout)


def loop(trial: dict[str, Any]) -> float:
    import torch

    from prune_search.zoo.data import load_data
    from prune_search.zoo.networks import BUILDERS

    torch.set_num_threads(1)
    sizes = {key: trial[key] for key in ("train_size", "validation_size")}
    data = load_data(trial["data"], root=trial["root"], **sizes)
    device = trial["device"]
    bf16 = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")
    images, labels = data.inputs(data.train.images).to(device), data.train.labels.to(device)
    model = BUILDERS[trial["model"]](tuple(trial["shape"]), 10).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    started = time.perf_counter()
    for _ in range(trial["epochs"]):
        for index in torch.randperm(len(labels), device=device).split(trial["batch_size"]):
            optimizer.zero_grad()
            with bf16:
                loss = torch.nn.functional.cross_entropy(model(images[index]), labels[index])
            loss.backward()
            optimizer.step()
    loss.item()
    return time.perf_counter() - started


def volume(figures: Figures, dense: int) -> float:
    from prune_search.pareto import default_reference, front, hypervolume

    points = [figures[i] for i in front(figures, OBJECTIVES)]
    return hypervolume(points, OBJECTIVES, default_reference(OBJECTIVES, {"accuracy": 0.0, "params": dense}))


def unpacked(root: Path, folder: Path) -> Path:
    """torchvision wants MNIST's four files unpacked; done before anybody is timed."""
    import gzip

    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (root / "MNIST" / "raw").glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        (raw / file.name).symlink_to(file)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--task", choices=TASKS, default="mnist")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--loaders", type=int, default=0)
    parser.add_argument("--model")
    parser.add_argument("--images", type=int)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as parent:
        root = options.root.absolute()
        root = unpacked(root, Path(parent) / "data") if options.task == "mnist" else root
        trial = {**TASKS[options.task], "root": str(root), "device": options.device, "loaders": options.loaders}
        changed = {"model": options.model, "train_size": options.images, "epochs": options.epochs}
        trial |= {key: value for key, value in changed.items() if value}
        for number in range(options.rounds):
            count = 0 if options.seconds else options.trials
            task = {
                "trial": trial,
                "trials": count or None,
                "seconds": options.seconds,
                "workers": options.workers,
                "gpus": 1 / options.workers if options.device == "cuda" else 0,
                "seed": number,
            }
            task["configurations"] = draw(count, trial["epochs"], number)
            folder, runners = Path(parent) / str(number), [("ours", ours), ("script", theirs)]
            found = {}
            for name, runner in runners[:: 1 if number % 2 else -1]:
                (folder / name).mkdir(parents=True)
                found[name] = runner(task, folder / name)
            (our_time, our), (their_time, their) = found["ours"], found["script"]
            if options.seconds:
                from prune_search.zoo.networks import BUILDERS

                dense = sum(p.numel() for p in BUILDERS[trial["model"]](tuple(trial["shape"]), 10).parameters())
                volumes = volume(our, dense), volume(their, dense)
                ratios.append(volumes[0] / volumes[1])
                told = f"ours {volumes[0]:.3f} ({len(our)} completed in {our_time:.0f} s), script {volumes[1]:.3f} ({len(their)} in {their_time:.0f} s)"
            else:
                ratios.append(their_time / our_time)
                least = bare(task) * count / (options.workers if options.device == "cpu" else 1)
                by_config = {(each["lr"], each["final_sparsity"]): each["accuracy"] for each in their}
                order = [(each["lr"], each["final_sparsity"]) for each in task["configurations"]]
                gaps = [each["accuracy"] - by_config[order[each["number"]]] for each in our]
                error = statistics.stdev(gaps) / len(gaps) ** 0.5
                told = (
                    f"ours {3600 * len(our) / our_time:.0f} trials an hour ({our_time:.1f} s; bare training {least:.1f} s), script "
                    f"{3600 * len(their) / their_time:.0f} ({their_time:.1f} s); accuracy {100 * statistics.mean(gaps):+.2f} +- {100 * error:.2f} points"
                )
            print(f"{told}; ratio {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
