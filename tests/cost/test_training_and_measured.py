import math
import time

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from prune_search.cost import (
    conditions,
    forward_flops,
    latency_ms,
    peak_memory_bytes,
    size_bytes,
    step_flops,
)


def test_training_cost_ratio_of_dyprune_section_5():
    live = [266_200, 93_383, 42_541, 22_724, 13_564, 8_796, 6_085, 4_434]
    epochs = [n for n in live for _ in range(3)] + [3_371]
    spent = sum(step_flops(n, 1000) for n in epochs)
    assert spent == 6 * 1000 * 1_376_552
    assert spent / (25 * step_flops(266_200, 1000)) == pytest.approx(0.2068, abs=5e-5)


def test_forward_is_a_third_of_a_step():
    assert forward_flops(10, 4) == 80
    assert step_flops(10, 4) == 240


def test_size_is_that_of_the_file(tmp_path):
    model = nn.Sequential(nn.Linear(100, 50), nn.LayerNorm(5))
    save_file(model.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert size_bytes(model) == (tmp_path / "model.safetensors").stat().st_size


def test_a_masked_weight_counts_one_bit_whatever_its_sign():
    model = nn.Linear(800, 100, bias=False)
    headers = (
        '{"__metadata__":{"format":"pt"},"weight":{"dtype":"F32","shape":[100,800],"data_offsets":[0,320000]}}',
        r'{"__metadata__":{"sparse":"{\"weight\":[100,800]}"},'
        '"weight.values":{"dtype":"F32","shape":[4000],"data_offsets":[0,16000]},'
        '"weight.bitmap":{"dtype":"U8","shape":[10000],"data_offsets":[16000,26000]}}',
    )
    dense, sparse = (8 + math.ceil(len(header) / 8) * 8 for header in headers)
    assert size_bytes(model) == 320_000 + dense
    with torch.no_grad():
        model.weight.mul_(torch.arange(800) < 40)
    assert (torch.signbit(model.weight) & (model.weight == 0)).any()
    assert size_bytes(model) == 10_000 + 4 * 4_000 + sparse


def test_tied_weights_are_stored_once():
    model = nn.Sequential(nn.Linear(100, 100, bias=False), nn.Linear(100, 100, bias=False))
    model[1].weight = model[0].weight
    assert 40_000 < size_bytes(model) < 40_200


def test_peak_memory_of_an_mlp():
    model = nn.Sequential(nn.Linear(100, 1000), nn.ReLU(), nn.Linear(1000, 10))
    weights = 4 * (100 * 1000 + 1000 + 1000 * 10 + 10)
    assert peak_memory_bytes(model, torch.randn(2, 100)) == weights + 800 + 2 * 2 * 4000
    assert model.training


class Sleeping(nn.Module):
    def forward(self, x):
        time.sleep(0.002)
        return x


def test_latency_is_in_milliseconds():
    assert 2 <= latency_ms(Sleeping(), torch.zeros(1), warmup=0, min_seconds=0.02)[0] < 1000


def test_latency_with_its_conditions():
    model = nn.Linear(10, 10)
    median, spread = latency_ms(model, torch.randn(4, 10), warmup=1, min_seconds=0.01)
    assert median > 0 and spread >= 0
    assert conditions(torch.randn(4, 10)) == {
        "device": "cpu",
        "batch": 4,
        "dtype": "float32",
        "threads": torch.get_num_threads(),
    }
