"""What the GPU commands do without a GPU: packing their searches, choosing the claimed trial, counting what a step moves."""

import pandas
import pytest
import torch
from torch import nn

from benchmarks.gpu import keeping
from benchmarks.gpu.anchor import build
from benchmarks.gpu.compute import RECIPES
from benchmarks.gpu.front import CLAIMS, SPACES, Claim, claimed
from benchmarks.gpu.limits import moved
from prune_search import load_spec
from prune_search.pruning.recipe import resolve


def test_what_is_packed_comes_back_in_parts_without_what_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "PART", 1000)
    monkeypatch.setattr(keeping, "LARGEST", 5000)
    runs, noise = tmp_path / "runs", torch.randint(256, (6000,), generator=torch.Generator().manual_seed(0)).tolist()
    files = {"mlflow.db": 4000, "s/study.log": 10, "s/trials/0/large": 5001, "s/tune/x": 5, "artifacts/m/y": 5}
    for name, size in files.items():
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / name).write_bytes(bytes(noise[:size]))
    assert keeping.pack(runs, tmp_path / "out") == ["s/trials/0/large"]
    sizes = [part.stat().st_size for part in sorted((tmp_path / "out").iterdir())]
    assert set(sizes[:-1]) == {1000} and 4 <= len(sizes) <= 6
    keeping.restore(tmp_path / "out", tmp_path / "back")
    back = {
        str(p.relative_to(tmp_path / "back")): p.read_bytes() for p in (tmp_path / "back").rglob("*") if p.is_file()
    }
    assert back == {name: (runs / name).read_bytes() for name in ("mlflow.db", "s/study.log")}
    (tmp_path / "back" / "mlflow.db").write_bytes(b"newer")
    keeping.restore(tmp_path / "out", tmp_path / "back")
    assert (tmp_path / "back" / "mlflow.db").read_bytes() == b"newer"


@pytest.mark.parametrize(
    ("points", "chosen"),
    [
        ([0.0, -1.0, -1.5, -1.9], 2),
        ([0.0, -1.0, -1.5, -1.4], 3),
        ([0.0, -1.0, -2.1, -2.2], 1),
        ([0.0, -3.0, -3.0, -3.0], 0),
    ],
)
def test_the_claimed_trial_is_the_most_accurate_small_one_or_the_furthest_that_is_accurate(points, chosen):
    ratios = {"params_ratio": [1.0, 50.0, 250.0, 900.0], "macs_ratio": [1.0, 30.0, 60.0, 90.0]}
    assert claimed(pandas.DataFrame({**ratios, "points": points}), Claim("", "", 200.0, 60.0, 2.0)).name == chosen


def test_being_beyond_one_ratio_does_not_make_up_for_the_other():
    trials = pandas.DataFrame({"params_ratio": [100.0, 4000.0], "macs_ratio": [30.0, 5.0], "points": [0.0, 0.0]})
    assert claimed(trials, Claim("", "", 200.0, 60.0, 2.0)).name == 0


def test_the_spaces_of_the_claims_hold_a_dense_control():
    for claim in CLAIMS.values():
        assert "dense" in load_spec(SPACES / claim.space).tree["recipe"].options


def test_the_recipes_of_the_comparison_exist_and_differ():
    assert len({repr(resolve(recipe)) for recipe in RECIPES.values()}) == len(RECIPES)


def test_a_step_moves_every_layers_inputs_and_outputs_three_times():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 2))
    assert moved(model, torch.zeros(4, 3, 4), 2) == 3 * 2 * 4 * ((12 + 12) + (12 + 5) + (5 + 2))


def test_the_small_network_is_of_the_speed_runs_size():
    network = build((3, 32, 32), 10)
    assert sum(p.numel() for p in network.parameters()) == 1_972_802
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
