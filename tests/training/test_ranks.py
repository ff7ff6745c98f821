"""Several processes that train one trial: the same network at all of them, the network that one process would train."""

import pytest
import torch
from training.ranked import released, run, synchronized, trained, validated
from training.test_trial import PLAIN

from prune_search.pruning.presets import PRESETS
from prune_search.training.ranks import SOLO, Ranks

SIZES = (2, 3)
OFTEN = {"stopping": {"every": {"epochs": 2}}, "schedule": {"loss-tolerance": {"tolerance": 0.5}}}
SOONER = {
    "dyprune-authors": {"stopping": {"every": {"epochs": 2}}},
    "lobster": OFTEN,
    "serene": {**OFTEN, "regularizer": {"serene": {"every": 2, "strength": 0.01}}},
    "neq": {"backward": {"neq": {"threshold": 0.05, "images": 20}}},
}
PARITY = {
    **PLAIN,
    "training": {
        "epochs": 4,
        "batch_size": 60,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "clip_norm": 1.0,
    },
    "recipe": {"preset": "magnitude", "schedule": {"one-shot": {"final_sparsity": 0.5}}, "dense_epochs": 2},
}


def few_epochs(preset):
    return {
        **PLAIN,
        "data": {"name": "digits", "train_size": 125, "validation_size": 60},
        "model": "training.own:residual",
        "training": {"epochs": 5, "batch_size": 60, "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}},
        "recipe": {"preset": preset, "floor": 0.02, **SOONER.get(preset, {})},
    }


def jobs():
    found = {f"preset {name}": (trained, few_epochs(name)) for name in PRESETS}
    return found | {
        "parity": (trained, PARITY),
        "validation": (validated, few_epochs("dense")),
        "released": (released, PARITY),
        "synchronized": (synchronized,),
    }


@pytest.fixture(scope="module")
def everything():
    return run(SIZES, jobs())


@pytest.fixture(params=SIZES, ids="{} ranks".format)
def answers(request, everything):
    return everything[request.param]


@pytest.mark.parametrize("preset", PRESETS)
def test_all_ranks_have_the_same_masks_and_network_in_every_epoch(answers, preset):
    first, *others = answers[f"preset {preset}"]
    assert len(first.seen) >= 4
    for other in others:
        assert other.seen == first.seen


def test_every_preset_prunes_or_freezes_in_that_time(answers):
    seen = {preset: answers[f"preset {preset}"][0] for preset in PRESETS}
    assert {preset for preset, rank in seen.items() if rank.live == rank.total and not rank.frozen} == {"dense"}


def test_ranks_train_the_network_that_one_process_trains(answers):
    alone, first = trained(SOLO, PARITY), answers["parity"][0]
    assert alone.live == first.live < first.total
    for name, value in first.weights.items():
        assert torch.allclose(torch.tensor(value), torch.tensor(alone.weights[name]), rtol=0, atol=1e-5), name


def test_ranks_divide_the_validation_and_see_the_same_batch_norm_statistics(answers):
    (images, dealt, alone), *others = answers["validation"]
    assert images == 60 and dealt == alone
    for own, _, whole in others:
        assert own < 60 and whole == alone


def test_ranks_divide_a_batch_in_equal_parts():
    batch = torch.arange(11)
    assert [Ranks(i, 3).part(batch).tolist() for i in range(3)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert torch.equal(SOLO.part(batch), batch)


def test_what_averages_gradients_ends_with_its_epoch(answers):
    assert set(answers["released"]) == {(True, True)}


def test_batch_norm_is_torchs_synchronized_one_while_it_trains(answers):
    """It takes no tensors of a CPU: that it is asked, and leaves no trace, is all that can be seen without GPUs."""
    expected = ("SyncBatchNorm layers only work with GPU modules", "BatchNorm2d", True, True)
    assert answers["synchronized"] == [expected] * len(answers["synchronized"])
