"""Files that start a cluster and a search on it: a Slurm batch script, a KubeRay RayJob, a file for ``ray up``."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import PurePosixPath
from textwrap import indent

from prune_search.cluster.entry import start_or_resume
from prune_search.spec import Spec
from prune_search.tracking import redacted

TOKEN = (
    "RAY_AUTH_MODE=token"  # ray start and those who connect must agree: the first turns it on where it finds a token
)
HEAD_CPUS, HEAD_MEMORY, MEMORY_PER_CPU = 2, "8Gi", 4  # of Kubernetes pods; our choice


@dataclass(frozen=True)
class Cluster:
    """What a search is to run on.

    Attributes:
        spec: The search space.
        space: Its file, as the cluster's nodes name it.
        overrides: ``key=value`` texts that it was loaded with.
        name: The search's name.
        nodes: Nodes that train.
        trials: Trials at once on each.
        shared: A folder that every node sees; searches are written below it.
        image: Container image with this project and Ray (Kubernetes).
    """

    spec: Spec
    space: str
    overrides: tuple[str, ...]
    name: str
    nodes: int
    trials: int
    shared: str
    image: str

    @property
    def cpus(self) -> int:
        """CPUs of a node."""
        resources = self.spec.resources
        return max(1, math.ceil(self.trials * resources.workers * resources.cpus_per_worker))

    @property
    def gpus(self) -> int:
        """GPUs of a node: ``gpus_per_worker: auto`` is one for each worker."""
        each = self.spec.resources.gpus_per_worker
        return math.ceil(self.trials * self.spec.resources.workers * (1 if each == "auto" else each) - 1e-9)

    @property
    def runs(self) -> str:
        return str(PurePosixPath(self.shared) / "runs")

    def command(self, space: str, overrides: Sequence[str] = ()) -> str:
        return start_or_resume(self.name, self.runs, space, overrides)


def slurm(cluster: Cluster) -> str:
    """For ``sbatch``. Run again after a time limit, it resumes the search."""
    gpus = f"#SBATCH --gpus-per-node={cluster.gpus}\n" if cluster.gpus else ""
    ray = f"--num-cpus={cluster.cpus} --num-gpus={cluster.gpus}"
    return f"""#!/bin/bash
# {_title(cluster)}
#   sbatch {cluster.name}.sbatch
# Set partition, account and time to yours. {cluster.shared} must be seen by every node. Submitted again, it goes on where it was.
#SBATCH --job-name={cluster.name}
#SBATCH --nodes={cluster.nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task={cluster.cpus}
{gpus}#SBATCH --time=24:00:00
#SBATCH --output={cluster.name}-%j.log
##SBATCH --partition=gpu
##SBATCH --account=me

set -euo pipefail
# source /path/to/venv/bin/activate   # an environment with prune-search, the same on every node

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
address="$(getent hosts "$head" | awk 'NR == 1 {{ print $1 }}'):6379"
export RAY_USAGE_STATS_ENABLED=0
export {TOKEN}                 # nobody else may run code there
(umask 077; ray get-auth-token --generate > /dev/null)  # kept in ~/.ray/auth_token, which every node must see, and you alone

# Starts Ray on every node, the search on the first, and ends Ray with it: all of your Ray there, so share no node with another job.
srun --ntasks="$SLURM_JOB_NUM_NODES" ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \\
  {ray} -- \\
  bash -c {shlex.quote(cluster.command(cluster.space, cluster.overrides))}
"""


def kuberay(cluster: Cluster) -> str:
    """For ``kubectl apply``: a RayJob (KubeRay 1.2 or later), and the search space as a ConfigMap, or a Secret if it has passwords."""
    name = re.sub(r"[^a-z0-9-]+", "-", cluster.name.lower()).strip("-")
    gpu = f"\n                    nvidia.com/gpu: {cluster.gpus}" if cluster.gpus else ""
    command = f"bash -c {shlex.quote(cluster.command('/search/space.yaml'))}"
    text = cluster.spec.to_yaml().rstrip()
    secret = redacted(text) != text
    kind, data = ("Secret", "stringData") if secret else ("ConfigMap", "data")
    volume = f"secret:\n                secretName: {name}" if secret else f"configMap:\n                name: {name}"
    return f"""# {_title(cluster)}
#   kubectl apply -f {name}.yaml && kubectl logs -f job/{name}
# Set the image (it must hold prune-search and Ray {_ray()}) and the claim: a volume that all pods may write (ReadWriteMany).
# Modules of your own that the search space names belong into the image.
apiVersion: v1
kind: {kind}
metadata:
  name: {name}
{data}:
  space.yaml: |
{indent(text, "    ")}
---
apiVersion: ray.io/v1
kind: RayJob
metadata:
  name: {name}
spec:
  entrypoint: {json.dumps(command)}
  backoffLimit: 3 # a driver that is lost is started again, and resumes the search
  shutdownAfterJobFinishes: true
  ttlSecondsAfterFinished: 600
  rayClusterSpec:
    rayVersion: "{_ray()}"
    headGroupSpec:
      rayStartParams:
        num-cpus: "0" # the driver is there, no trials
      template:
        spec:
          containers:
            - name: ray-head
              image: {cluster.image}
              resources:
                limits: &head
                  cpu: {HEAD_CPUS}
                  memory: {HEAD_MEMORY}
                requests: *head
              volumeMounts: &mounts
                - name: shared
                  mountPath: {cluster.shared}
                - name: search
                  mountPath: /search
          volumes: &volumes
            - name: shared
              persistentVolumeClaim:
                claimName: prune-search
            - name: search
              {volume}
    workerGroupSpecs:
      - groupName: trials
        replicas: {cluster.nodes}
        minReplicas: {cluster.nodes}
        maxReplicas: {cluster.nodes}
        rayStartParams: {{}}
        template:
          spec:
            containers:
              - name: ray-worker
                image: {cluster.image}
                resources:
                  limits: &worker
                    cpu: {cluster.cpus}
                    memory: {cluster.cpus * MEMORY_PER_CPU}Gi{gpu}
                  requests: *worker
                volumeMounts: *mounts
            volumes: *volumes
"""


def ray_cluster(cluster: Cluster) -> str:
    """For ``ray up``, on machines of your own that are reached by ssh."""
    workers = "".join(f"\n    - worker-{i + 1}.example.org" for i in range(max(0, cluster.nodes - 1)))
    workers = workers or " []"
    return f"""# {_title(cluster)}
#   (umask 077; ray get-auth-token --generate) && ray up {cluster.name}.yaml
#   ray exec {cluster.name}.yaml {shlex.quote(f"export {TOKEN}; {cluster.command(cluster.space, cluster.overrides)}")} --tmux
#   ray down {cluster.name}.yaml
# Put in your machines and user. {cluster.shared} must be seen by all of them, {cluster.space} by the head.
# Each needs Ray {_ray()} and prune-search in the environment that a login shell has.
cluster_name: {cluster.name}
provider:
  type: local
  head_ip: head.example.org
  worker_ips:{workers}
auth:
  ssh_user: me
file_mounts: {{"~/.ray/auth_token": "~/.ray/auth_token"}} # nobody else may run code there
setup_commands: []
head_start_ray_commands:
  - ray stop
  - {TOKEN} ray start --head --port=6379 --num-cpus={cluster.cpus} --num-gpus={cluster.gpus} --autoscaling-config=~/ray_bootstrap_config.yaml
worker_start_ray_commands:
  - ray stop
  - {TOKEN} ray start --address=$RAY_HEAD_IP:6379 --num-cpus={cluster.cpus} --num-gpus={cluster.gpus}
"""


TARGETS: dict[str, Callable[[Cluster], str]] = {"slurm": slurm, "kuberay": kuberay, "ray-cluster": ray_cluster}


def _title(cluster: Cluster) -> str:
    resources = cluster.spec.resources
    each = f"{cluster.trials} trial{'s' if cluster.trials > 1 else ''} of {resources.workers} worker"
    return (
        f"The search {cluster.name} on {cluster.nodes} nodes with {cluster.cpus} CPUs and {cluster.gpus} GPUs each: {each}"
        f"{'s' if resources.workers > 1 else ''} at once on a node."
    )


def _ray() -> str:
    return version("ray")
