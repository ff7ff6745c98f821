"""What is exported is counted again: a network that is not the reported one is refused."""

from __future__ import annotations

import pytest
import torch

from prune_search.export.trial import export_trial
from prune_search.export.verify import ExportError
from prune_search.spec.config import TrialConfig
from prune_search.training.data import data_of
from prune_search.training.trial import Trial

PLAIN = {
    "data": {"name": "digits", "train_size": 200, "validation_size": 100},
    "model": {"name": "lenet-300-100"},
    "training": {"epochs": 1},
    "recipe": "dense",
    "seed": 0,
}


def test_a_network_with_another_count_is_refused(monkeypatch, tmp_path) -> None:
    config = TrialConfig.from_dict(PLAIN)
    report = Trial(config, data_of(config.data), tmp_path / "trial").run_epoch()

    @torch.no_grad()
    def another(self: Trial) -> torch.nn.Module:
        self.model.fc3.weight[0, :5] = 0
        return self.model

    monkeypatch.setattr(Trial, "removed", another)
    told = {"metrics": report.metrics(), "dense": {}, "search": "s", "number": 3, "trials": 4}
    with pytest.raises(ExportError, match=f"params is {report.params - 5}, but {report.params} was reported"):
        export_trial(PLAIN, tmp_path / "trial", out=tmp_path / "out", formats=["safetensors"], **told)
    assert not (tmp_path / "out").exists()
