"""The fixed set of training images on which parts measure, and what a pruner asks of its user."""

import pytest
import torch
from pruning.nets import small_net
from torch import nn

from prune_search import prune
from prune_search.errors import UserError
from prune_search.pruning.probe import balanced, probe_from


def test_a_balanced_draw_takes_from_every_class_in_turn():
    labels = torch.tensor([0] * 50 + [1] * 5 + [2] * 20)
    index = balanced(labels, 12)
    assert labels[index].bincount().tolist() == [4, 4, 4]
    assert len(index.unique()) == 12
    assert labels[balanced(labels, 30)].bincount().tolist() == [13, 5, 12]
    assert len(balanced(labels, 1000).unique()) == 75
    assert torch.equal(index, balanced(labels, 12))
    assert not torch.equal(index, balanced(labels, 12, seed=1))


def test_other_labels_are_drawn_uniformly():
    for labels in (torch.rand(9, 2), torch.arange(18).reshape(9, 2), torch.rand(9)):
        assert len(balanced(labels, 4).unique()) == 4


def test_a_probe_from_batches_is_fixed_and_balanced():
    asked = []

    def batches(number):
        asked.append(number)
        generator = torch.Generator().manual_seed(len(asked))
        return [(torch.rand(10, 8, generator=generator), torch.arange(10) % 5) for _ in range(number)]

    probe = probe_from(batches)
    inputs, labels = probe(25)
    assert labels.bincount().tolist() == [5] * 5
    assert torch.equal(probe(25)[0], inputs)
    assert asked == [1, 2, 4]
    assert probe(per_class=2)[1].bincount().tolist() == [2] * 5
    assert probe_from(batches)(per_class=5)[1].bincount().tolist() == [5] * 5


def test_what_is_missing_is_said():
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(UserError, match=r"growth 'gradient' needs loss and batches. Give prune\(\.\.\., loss="):
        prune(model, "rigl", optimizer=optimizer, epochs=3)
    with pytest.raises(UserError, match="schedule 'loss-tolerance' needs evaluate"):
        prune(model, "lobster", optimizer=optimizer, epochs=3)
    batches = lambda number: [(torch.rand(4, 8), torch.arange(4))] * number
    prune(model, "rigl", optimizer=optimizer, epochs=3, loss=nn.functional.cross_entropy, batches=batches)


def test_an_own_loop_may_give_the_probe_and_say_how_many_images_it_trains_on():
    model, asked = small_net(), []

    def probe(images=None, *, per_class=None):
        asked.append(images)
        return torch.rand(images, 8), torch.arange(images) % 4

    recipe = {"stopping": {"gradient-flow": {"images": 512}}, "dense_epochs": 1, "final_epochs": 1, "floor": 0.1}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    options = {"loss": nn.functional.cross_entropy, "probe": probe, "train_images": 6_000}
    engine = prune(model, recipe, optimizer=optimizer, epochs=4, **options)
    engine.epoch_end(loss=1.0, accuracy=0.5)
    assert asked == [100]  # a sixtieth of the training images
