"""Where does the time of one trial go, from a cold process to the pruned network?

    python -m tests.benchmarks.gpu.life [--model vgg-19] [--preset activation-density] [--images 10000] [--epochs 12] [--profile]

On random images of CIFAR-10's size, or with ``--archive cifar10-jpeg.tar.gz`` on CIFAR-10. Prints the seconds until the first step, for each epoch those of training, validation,
report (removal with proof, cost), checkpoint and decision (the event), and validation accuracy; last, how near a step of the dense network
comes to what the device's arithmetic and memory allow. ``--profile`` adds the functions in which the reports and decisions spent most.
"""

from __future__ import annotations

import argparse
import copy
import cProfile
import pstats
import tempfile
import time
from pathlib import Path

import torch

from prune_search.spec.config import TrialConfig
from prune_search.training.data import cached_data
from prune_search.training.trial import Trial

from ..age import age
from . import limits
from .keeping import pictures

PHASES = {"_train": "train", "_validate": "validate", "_report": "report", "_save": "save", "_decide": "decide"}


def config(options: argparse.Namespace) -> TrialConfig:
    return TrialConfig.from_dict(
        {
            "seed": 0,
            "data": {
                "name": "folder" if options.archive else "tests.benchmarks.gpu.packing:noise",
                "root": str(options.root) if options.archive else ".",
                "train_size": options.images,
                "validation_size": options.images // 2,
                "augment": "crop+flip",
            },
            "model": {"name": options.model},
            "training": {
                "epochs": options.epochs,
                "batch_size": options.batch,
                "optimizer": {"name": "sgd", "lr": options.lr, "weight_decay": 5e-4},
                "schedule": "onecycle",
                "channels_last": {"auto": "auto", "yes": True, "no": False}[options.channels_last],
            },
            "recipe": {"preset": options.preset, "stopping": {"every": {"epochs": 3}}},
        }
    )


def timed(trial: Trial, seconds: dict[str, float], profile: cProfile.Profile | None) -> None:
    """Make a trial's phases note their seconds in ``seconds``."""

    def wrap(name: str):
        method = getattr(trial, name)

        def timing(*args):
            started = time.perf_counter()
            watched = profile is not None and name in ("_report", "_decide")
            if watched:
                profile.enable()
            result = method(*args)
            if watched:
                profile.disable()
            if trial.device.type == "cuda":
                torch.cuda.synchronize()
            seconds[PHASES[name]] = seconds.get(PHASES[name], 0.0) + time.perf_counter() - started
            return result

        return timing

    for name in PHASES:
        setattr(trial, name, wrap(name))


def main() -> None:
    imports = age()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vgg-19")
    parser.add_argument("--preset", default="activation-density")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--root", type=Path, default=Path("/tmp/prune-search-gpu/cifar10"))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--channels-last", choices=["auto", "yes", "no"], default="auto")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.archive:
        pictures(options.archive, options.root)
    profile = cProfile.Profile() if options.profile else None
    with tempfile.TemporaryDirectory() as folder:
        started, chosen = time.perf_counter(), config(options)
        data = cached_data(chosen.data, options.device)
        loaded = time.perf_counter()
        trial = Trial(chosen, data, Path(folder), device=options.device)
        built = time.perf_counter()
        print(f"imports {imports:.1f} s, data {loaded - started:.1f} s, trial {built - loaded:.1f} s", flush=True)
        dense, example = copy.deepcopy(trial.model), data.inputs(data.train.images[: options.batch])
        seconds: dict[str, float] = {}
        timed(trial, seconds, profile)
        quickest = float("inf")
        while not trial.finished:
            seconds.clear()
            report = trial.run_epoch()
            cells = " ".join(f"{phase} {seconds[phase]:6.2f}" for phase in PHASES.values())
            told = f"accuracy {report.accuracy:.4f} after {time.perf_counter() - loaded:6.1f} s"
            print(f"epoch {report.epoch:3}: {cells} s; {report.physical_params:11.0f} parameters; {told}", flush=True)
            if report.events == 0:
                quickest = min(quickest, seconds["train"])
        steps = options.images // options.batch
        dtype = torch.bfloat16 if options.device == "cuda" else torch.float32
        print(limits.told(dense.to(example.device), example, dtype, quickest / steps))
    if profile is not None:
        pstats.Stats(profile).sort_stats("cumulative").print_stats("prune_search|torch", 45)


if __name__ == "__main__":
    main()
