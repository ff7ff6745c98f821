"""Searches whose trials are kept at a URL: the same search, its front at hand, nothing lost with a node's own files."""

import shutil
from pathlib import Path

import pytest
import ray
from cli import command
from search.small_spaces import SMALL, write
from search.test_source import TIMING, figures

from prune_search import Search
from prune_search.search.results import read
from prune_search.training.files import CHECKPOINT, read_reports

EPOCHS, TRIALS = 4, 5
STOPS = "{name: moasha, reduction: 2}"


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    node = tmp_path_factory.mktemp("node")
    environment = {"env_vars": {"OMP_NUM_THREADS": "1", "TMPDIR": str(node)}}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env=environment, log_to_driver=False)
    yield node
    ray.shutdown()
