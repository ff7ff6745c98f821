"""What a trial holds of a cluster, and how many fit."""

import pytest
from search.small_spaces import SMALL, write

from prune_search import Search
from prune_search.errors import UserError
from prune_search.search.execution import Share

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


def test_a_trial_that_never_fits_on_this_machine_is_refused_before_anything_starts(tmp_path):
    space = write(tmp_path, SMALL + "resources: {workers: 3, cpus_per_worker: 1000}\n")
    with pytest.raises(
        UserError, match=r"holds 3 x \(1000 CPUs and 0 GPUs\), this machine has .*Set resources.workers"
    ):
        Search(space, runs=tmp_path / "runs", name="wide").run()
    assert not list((tmp_path / "runs" / "wide" / "trials").glob("*"))
