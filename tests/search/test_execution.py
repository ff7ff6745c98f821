"""What a trial holds of a cluster, and how many fit."""

import pytest

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
