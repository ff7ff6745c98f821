"""What a trial holds of a cluster, how many fit, and what a node must offer."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray.tune.experiment import Trial

from prune_search.errors import UserError
from prune_search.search.adapter import Adapter, Scheduler
from prune_search.search.execution import Share, connected, resources
from prune_search.search.nodes import Node, _cards
from prune_search.spec.settings import ResourcesConfig

NODES = [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 3.0}, {"CPU": 5.0, "GPU": 1.0}]


@pytest.mark.parametrize(
    ("share", "slots"),
    [
        (Share(), 24),
        (Share(cpus=2), 11),  # 8 + 1 + 2: a trial does not reach over nodes with one worker
        (Share(workers=2, cpus=2), 5),
        (Share(gpus=1), 3),
        (Share(cpus=6, gpus=1), 2),
        (Share(gpus=0.1), 21),
        (Share(workers=2, gpus=1), 1),
        (Share(workers=4, gpus=1), 0),
        (Share(cpus=0.5), 48),
    ],
)
def test_trials_that_fit_at_once(share, slots):
    assert share.slots(NODES) == slots


@pytest.mark.parametrize(
    ("gpus", "nodes", "share", "slots"),
    [
        ("auto", NODES, 1.0, 3),
        ("auto", [{"CPU": 2.0, "GPU": 1.0}], 1.0, 1),
        ("auto", [{"CPU": 2.0, "GPU": 2.0}], 1.0, 2),
        ("auto", [{"CPU": 4.0}, {"CPU": 2.0, "GPU": 0.5}], 0.0, 6),
        (0.5, NODES, 0.5, 6),
        (0, NODES, 0.0, 24),
    ],
)
def test_auto_is_a_whole_gpu_where_there_are_any(monkeypatch, gpus, nodes, share, slots):
    gone = {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 99.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [gone, *({"Alive": True, "Resources": node} for node in nodes)])
    found, fit = resources(ResourcesConfig(gpus_per_worker=gpus), None)
    assert (found.gpus, found.cpus, found.workers, fit) == (share, 1.0, 1, slots)


def test_a_trial_that_fits_nowhere_is_refused_unless_the_cluster_may_grow(monkeypatch):
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    with pytest.raises(
        UserError, match=r"a trial holds 2 x \(1 CPUs and 1 GPUs\), this machine has 2 CPUs and 0 GPUs\."
    ):
        resources(ResourcesConfig(workers=2, gpus_per_worker=1), None)
    assert resources(ResourcesConfig(workers=2, gpus_per_worker=1), "ray://head:10001")[1] == 1


def test_what_would_break_a_search_is_named():
    own = {"python": "3.11.7", "torch": "2.14.1"}
    fine = Node("a", 4, 1, cards=1, versions=own, shared=True, writable=True, skew=0.1, trip=0.01)
    assert fine.problems(own) == []
    broken = {
        "versions": ({**own, "torch": "2.13.0"}, "torch is 2.13.0, the driver has 2.14.1"),
        "shared": (False, "does not see what the driver writes"),
        "writable": (False, "cannot write into the runs directory"),
        "cards": (0, "Ray hands out 1 GPUs, nvidia-smi lists 0"),
        "storage": ("resources.storage: s3://a cannot be written", "resources.storage: s3://a cannot be written"),
        "skew": (-9.0, "its clock is -9.0 s off"),
        "error": ("ModuleNotFoundError", "prune-search does not run there: ModuleNotFoundError"),
    }
    for name, (value, said) in broken.items():
        (problem,) = replace(fine, **{name: value}).problems(own)
        assert problem.startswith(said)
    assert replace(fine, shared=False, writable=False, storage="").problems(own) == []


def test_cards_are_those_that_the_driver_lists(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _cards() == 0
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "GPU 0: A (UUID: x)"; echo "  MIG 1g (UUID: y)"; echo "GPU 1: A (UUID: z)"\n')
    tool.chmod(0o755)
    assert _cards() == 2


def test_tunes_memory_of_a_trial_that_has_ended_is_let_go():
    trial = Trial("trial", stub=True)
    trial.run_metadata.update_metric("number", 1.0)
    before = trial.run_metadata.get_json_state()
    assert trial.metric_n_steps and trial.metric_analysis
    Scheduler(Adapter(None, lambda: False, {}, dict)).on_trial_complete(None, trial, {})
    assert not trial.metric_n_steps and not trial.metric_analysis
    assert len(trial.run_metadata.get_json_state()) < len(before)


def stranger(address, home):
    """What a Ray hears that was not given the token of the one at ``address``."""
    code = f"from ray._raylet import GcsClient; print(len(GcsClient(address={address!r}).get_all_node_info()))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    process = subprocess.run(
        [sys.executable, "-c", code], env={**environment, "HOME": str(home)}, capture_output=True, text=True
    )
    return process.stdout + process.stderr


def test_workers_of_a_ray_of_our_own_get_threads_and_modules_and_the_driver_keeps_its_environment(
    tmp_path, monkeypatch
):
    (tmp_path / "beside_the_space.py").write_text("ANSWER = 42\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)

    def seen():
        import beside_the_space

        return os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"], beside_the_space.ANSWER

    with connected(None, 3, [str(tmp_path)]):
        assert ray.get(ray.remote(seen).remote()) == ("3", "3", 42)
        assert os.environ["OMP_NUM_THREADS"] == "1" and "MKL_NUM_THREADS" not in os.environ
        assert "InvalidAuthToken" in stranger(ray.get_runtime_context().gcs_address, tmp_path)
    assert not ray.is_initialized()


@pytest.mark.parametrize("modules", [[], ["mine.py", "pack"]])
def test_the_users_modules_go_to_a_cluster_with_the_job(monkeypatch, tmp_path, modules):
    told = {}
    monkeypatch.setattr(ray, "init", lambda **options: told.update(options))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with connected("head:6379", 3, ["/a", "/b"], [Path(module) for module in modules]):
        pass
    assert told["address"] == "head:6379"
    assert told["runtime_env"].get("py_modules", []) == modules
    variables = told["runtime_env"]["env_vars"]
    assert (variables["OMP_NUM_THREADS"], variables["PYTHONPATH"]) == ("3", "/a:/b")


def test_the_token_of_a_ray_of_our_own_is_its_owners_alone(tmp_path):
    (tmp_path / ".ray").mkdir(mode=0o755)
    code = "from prune_search.search.execution import connected\nwith connected(None, 1, []): print('connected')"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    process = subprocess.run(
        [sys.executable, "-c", code], env={**environment, "HOME": str(tmp_path)}, capture_output=True, text=True
    )
    token = tmp_path / ".ray" / "auth_token"
    assert process.stdout == "connected\n", process.stderr
    assert len(token.read_text()) == 64 and token.stat().st_mode & 0o777 == 0o600


def test_a_token_that_is_there_is_closed_and_one_to_come_has_a_closed_folder(tmp_path, monkeypatch):
    modes = []
    monkeypatch.setattr(ray, "init", lambda **_: modes.append((tmp_path / ".ray").stat().st_mode & 0o777))
    monkeypatch.setenv("HOME", str(tmp_path))
    with connected(None, 1, []):
        pass
    token = tmp_path / ".ray" / "auth_token"
    token.write_text("secret")
    token.chmod(0o644)
    with connected("somewhere:6379", 1, []):
        assert token.stat().st_mode & 0o777 == 0o600
    assert modes == [0o700, 0o700]
