"""Optimizers are torch's own, bit for bit, without the compiler that theirs bring in."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from prune_search.spec.config import AdamWConfig, SgdConfig
from prune_search.training.optim import build_optimizer

CONFIGS = [
    (SgdConfig(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01), torch.optim.SGD),
    (AdamWConfig(lr=0.01, weight_decay=0.1), torch.optim.AdamW),
]


@pytest.mark.parametrize(("config", "kind"), CONFIGS, ids=["sgd", "adamw"])
def test_steps_are_torchs_own_and_hooks_and_states_work(config, kind):
    torch.manual_seed(0)
    models = [nn.Linear(5, 3), nn.Linear(5, 3)]
    models[1].load_state_dict(models[0].state_dict())
    options = config.model_dump(exclude={"name"})
    ours, theirs = build_optimizer(models[0].parameters(), config), kind(models[1].parameters(), fused=True, **options)
    calls = []
    ours.register_step_pre_hook(lambda *_: calls.append("before"))
    ours.register_step_post_hook(lambda *_: calls.append("after"))
    for number in range(4):
        x = torch.randn(7, 5)
        for model, optimizer in zip(models, (ours, theirs), strict=True):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        if number == 1:
            ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    assert isinstance(ours, kind) and calls == ["before", "after"] * 4


def test_a_trial_does_not_import_the_compiler(tmp_path):
    code = """
import sys
from pathlib import Path
from prune_search.spec.config import TrialConfig
from prune_search.training.data import data_of
from prune_search.training.trial import Trial
recipe = {"preset": "magnitude", "granularity": "channel", "schedule": {"one-shot": {"final_sparsity": 0.5}}, "removal": "at-events", "dense_epochs": 1}
for model in ("lenet-300-100", "training.own:residual"):
    config = TrialConfig.from_dict({
        "data": {"name": "digits", "train_size": 100, "validation_size": 50}, "model": model, "recipe": recipe,
        "training": {"epochs": 3, "optimizer": {"name": "adamw"}, "clip_norm": 1.0},
    })
    trial = Trial(config, data_of(config.data), Path(sys.argv[1]) / model.replace(":", "-"))
    while not trial.finished:
        trial.run_epoch()
print(len(trial.pruner.history.events), "torch._dynamo" in sys.modules, "sympy" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert done.stdout.split() == ["1", "False", "False"], done.stderr
