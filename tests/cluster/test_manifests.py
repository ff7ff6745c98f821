"""Files that start clusters: valid by the target's own parser or schema where there is one here, field by field elsewhere."""

import subprocess

import pytest
import ray
import yaml
from cli import command
from ray.autoscaler._private.util import prepare_config, validate_config
from search.small_spaces import SMALL, write

from prune_search import load_spec
from prune_search.cluster.manifests import TARGETS

WIDE = SMALL + "resources: {workers: 2, cpus_per_worker: 1.5, gpus_per_worker: 1}\n"


@pytest.fixture
def made(monkeypatch, capsys, tmp_path):
    """Makes the file for a target: its text."""

    def make(target, *options, text=WIDE, **search):
        space = write(tmp_path, text, **search)
        code, out, _ = command.run(monkeypatch, capsys, "manifest", space, "--target", target, *options)
        assert code == 0
        return out

    return make


def test_a_slurm_script_is_bash_and_starts_or_resumes_the_search(made, tmp_path):
    text = made("slurm", "--nodes", 3, "--trials-per-node", 2, "--shared", "/my shared", "--name", "big", "--set",
                "training.epochs=7")  # fmt: skip
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    asked = dict(line.removeprefix("#SBATCH --").split("=") for line in text.splitlines() if line.startswith("#SBATCH"))
    assert {key: asked[key] for key in ("nodes", "ntasks-per-node", "cpus-per-task", "gpus-per-node", "job-name")} == {
        "nodes": "3", "ntasks-per-node": "1", "cpus-per-task": "6", "gpus-per-node": "4", "job-name": "big",
    }  # fmt: skip
    played = f"""
        scontrol() {{ echo first; seq 100000; }}
        getent() {{ echo "10.0.0.7 first"; }}
        ray() {{ echo "$@" > {tmp_path}/token; }}
        srun() {{ printf '%s\\n' "$@"; }}
        SLURM_JOB_NODELIST=x SLURM_JOB_NUM_NODES=3
        {text}"""
    done = subprocess.run(["bash", "-c", played], capture_output=True, text=True, check=True)
    *start, last = done.stdout.splitlines()
    assert start == ["--ntasks=3", "ray", "symmetric-run", "--address", "10.0.0.7:6379", "--min-nodes", "3",
                     "--num-cpus=6", "--num-gpus=4", "--", "bash", "-c"]  # fmt: skip
    assert (tmp_path / "token").read_text() == "get-auth-token --generate\n" and "export RAY_AUTH_MODE=token " in text
    shown = f"prune-search() {{ printf '%s\\n' \"$@\"; }}; {last}"
    said = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=True).stdout.splitlines()
    runs = "/my shared/runs"
    assert said == ["run", str(tmp_path / "small.yaml"), "--name", "big", "--runs", runs, "--address", "auto",
                    "--set", "training.epochs=7"]  # fmt: skip
    here = tmp_path / "runs" / "big"
    here.mkdir(parents=True)
    said = subprocess.run(["bash", "-c", shown.replace("/my shared", str(tmp_path))], capture_output=True, text=True)
    assert said.stdout.splitlines()[:2] == ["resume", "big"]


def test_ray_up_accepts_its_file(made):
    config = yaml.safe_load(made("ray-cluster", "--nodes", 3, "--trials-per-node", 2))
    whole = prepare_config(config)
    validate_config(whole)
    assert whole["provider"]["type"] == "local" and len(whole["provider"]["worker_ips"]) == 2
    for commands in (whole["head_start_ray_commands"], whole["worker_start_ray_commands"]):
        assert commands[-1].startswith("RAY_AUTH_MODE=token ray start") and "--num-cpus=6 --num-gpus=4" in commands[-1]
    assert whole["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    assert yaml.safe_load(made("ray-cluster", "--nodes", 1))["provider"]["worker_ips"] == []


def test_a_ray_job_has_the_fields_of_its_documentation(made, tmp_path):
    config, job = yaml.safe_load_all(made("kuberay", "--name", "My_Search", "--image", "me/prune:1", "--shared", "/my shared",
                                           "--set", "training.epochs=7", concurrency=4))  # fmt: skip
    assert (config["kind"], config["apiVersion"]) == ("ConfigMap", "v1")
    (tmp_path / "space.yaml").write_text(config["data"]["space.yaml"])
    spec = load_spec(tmp_path / "space.yaml")
    assert spec.resources.workers == 2 and "epochs: 7" in spec.to_yaml()
    assert (job["kind"], job["apiVersion"]) == ("RayJob", "ray.io/v1")
    assert job["metadata"]["name"] == config["metadata"]["name"] == "my-search"
    assert set(job["spec"]) == {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
                                "rayClusterSpec"}  # fmt: skip
    shown = f"prune-search() {{ printf '%s\\n' \"$@\"; }}; export -f prune-search; {job['spec']['entrypoint']}"
    said = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [
        "run",
        "/search/space.yaml",
        "--name",
        "My_Search",
        "--runs",
        "/my shared/runs",
        "--address",
        "auto",
    ]
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == ray.__version__
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["rayStartParams"] == {"num-cpus": "0"}
    assert (workers["replicas"], workers["minReplicas"], workers["maxReplicas"]) == (4, 4, 4)
    for pod in (head["template"]["spec"], workers["template"]["spec"]):
        (container,) = pod["containers"]
        assert container["image"] == "me/prune:1"
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts == {"shared": "/my shared", "search": "/search"}
        assert {volume["name"] for volume in pod["volumes"]} == set(mounts)
    (container,) = workers["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": 3, "memory": "12Gi", "nvidia.com/gpu": 2}


def test_a_space_with_passwords_is_a_secret(made):
    text = SMALL + "tracking: {uri: 'postgresql://me:word@db/runs'}\n"
    secret, job = yaml.safe_load_all(made("kuberay", "--name", "s", text=text))
    assert secret["kind"] == "Secret" and "me:word@db" in secret["stringData"]["space.yaml"] and "data" not in secret
    for group in (job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]):
        volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
        assert volumes["search"] == {"name": "search", "secret": {"secretName": "s"}}


@pytest.mark.parametrize("target", TARGETS)
def test_a_search_without_gpus_asks_for_none(made, target):
    text = made(target, text=SMALL + "resources: {gpus_per_worker: 0}\n")
    assert "nvidia.com" not in text and "gpus-per-node" not in text and "1 trial of 1 worker at once" in text


def test_an_unknown_target_is_named(monkeypatch, capsys, tmp_path):
    code, _, err = command.run(monkeypatch, capsys, "manifest", write(tmp_path), "--target", "slurn")
    assert code == 2 and "Did you mean 'slurm'?" in err and "kuberay, ray-cluster" in err
