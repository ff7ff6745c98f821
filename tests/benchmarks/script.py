"""The search that a user would write today, from the documentation of its libraries; it uses nothing of this project but networks.

    python -m tests.benchmarks.script TASK.json

Ray Tune with OptunaSearch, torchvision data behind DataLoaders, torch.nn.utils.prune, MLflowLoggerCallback. Each trial trains, prunes
the smallest weights of all layers once, trains on, and reports accuracy and non-zero parameters after every epoch. TASK.json: what
``tests.benchmarks.against_script`` writes. On a GPU in bf16 autocast. Prints one JSON line for each trial.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import ray
import torch
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.search.optuna import OptunaSearch
from torch import nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from prune_search.zoo.cache import order
from prune_search.zoo.networks import BUILDERS


def loaders(task: dict) -> tuple[DataLoader, DataLoader]:
    if task["data"] == "MNIST":
        transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
        images = datasets.MNIST(task["root"], train=True, transform=transform)
    else:
        normal = transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
        transform = transforms.Compose([transforms.ToTensor(), normal])
        images = datasets.ImageFolder(Path(task["root"]) / "train", transform)
    shuffled = order(len(images), 0).tolist()  # the split that prune-search makes
    cut = task["validation_size"]
    validation, train = shuffled[:cut], shuffled[cut : cut + task["train_size"]]
    beside = {
        "num_workers": task["loaders"],
        "pin_memory": task["device"] == "cuda",
        "persistent_workers": task["loaders"] > 0,
    }
    return (
        DataLoader(Subset(images, train), batch_size=task["batch_size"], shuffle=True, **beside),
        DataLoader(Subset(images, validation), batch_size=1000, **beside),
    )


def train(config: dict) -> None:
    task = config["task"]
    torch.manual_seed(0)
    device, bf16 = task["device"], torch.autocast(task["device"], torch.bfloat16, enabled=task["device"] == "cuda")
    train_loader, validation_loader = loaders(task)
    model = BUILDERS[task["model"]](tuple(task["shape"]), 10).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"], momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, task["epochs"] * len(train_loader))
    layers = [(m, "weight") for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    for epoch in range(1, task["epochs"] + 1):
        model.train()
        for images, labels in train_loader:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            optimizer.zero_grad()
            with bf16:
                loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        right, loss = 0, 0.0
        with torch.no_grad(), bf16:
            for images, labels in validation_loader:
                images, labels = images.to(device), labels.to(device)
                outputs = model(images)
                loss += nn.functional.cross_entropy(outputs, labels, reduction="sum").item()
                right += (outputs.argmax(1) == labels).sum().item()
            removed = sum(int((m.weight == 0).sum()) for m, _ in layers)
            params = sum(p.numel() for p in model.parameters()) - removed
        count = task["validation_size"]
        tune.report({"epoch": epoch, "accuracy": right / count, "loss": loss / count, "params": params})
        if epoch == config["dense_epochs"]:
            prune.global_unstructured(layers, prune.L1Unstructured, amount=config["final_sparsity"])


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(task["folder"])
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    space = {
        "task": task["trial"],
        "lr": tune.loguniform(0.02, 0.3),
        "final_sparsity": tune.uniform(0.5, 0.99),
        "dense_epochs": tune.randint(1, task["trial"]["epochs"]),
    }
    search = OptunaSearch(
        metric=["accuracy", "params"], mode=["max", "min"], points_to_evaluate=task["configurations"], seed=task["seed"]
    )
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1, "gpu": task["gpus"]}),
        param_space=space,
        tune_config=tune.TuneConfig(
            search_alg=search,
            num_samples=task["trials"] or -1,
            time_budget_s=task["seconds"],
            max_concurrent_trials=task["workers"],
        ),
        run_config=tune.RunConfig(
            name="script",
            storage_path=str(folder),
            verbose=0,
            callbacks=[MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="script")],
        ),
    )
    for result in tuner.fit():
        if result.metrics and result.metrics.get("epoch") == task["trial"]["epochs"]:
            told = {key: result.config[key] for key in ("lr", "final_sparsity", "dense_epochs")}
            told |= {key: result.metrics[key] for key in ("accuracy", "params")}
            print(json.dumps(told | {"seconds": result.metrics["time_total_s"]}), flush=True)


if __name__ == "__main__":
    main()
