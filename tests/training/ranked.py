"""Trials on several ranks, as processes of this machine under Gloo: run by ``test_ranks.py`` and importable by its children."""

import hashlib
import multiprocessing
import socket
import traceback
import weakref
from typing import NamedTuple

import torch

from prune_search.spec.config import TrialConfig


def run(sizes, jobs):
    """``function(ranks, *arguments)`` of each job on as many new processes: {size: {name: [answer of each rank]}}."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["prune_search.training.trial"])
    meetings = {size: f"tcp://127.0.0.1:{port}" for size, port in zip(sizes, _free_ports(len(sizes)))}
    results = context.Queue()
    processes = [context.Process(target=_member, args=(i, meetings, jobs, results)) for i in range(max(sizes))]
    for process in processes:
        process.start()
    answers = dict(results.get() for _ in processes)
    for process in processes:
        process.join()
    for answer in answers.values():
        assert not isinstance(answer, str), answer
    return {size: {name: [answers[i][size][name] for i in range(size)] for name in jobs} for size in sizes}


def _free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _member(rank, meetings, jobs, results):
    from prune_search.training.ranks import join, leave

    torch.set_num_threads(1)
    try:
        answers = {}
        for size, address in meetings.items():
            if rank < size:
                ranks = join(rank, size, address, "cpu")
                answers[size] = {name: function(ranks, *arguments) for name, (function, *arguments) in jobs.items()}
                leave()
        results.put((rank, answers))
    except BaseException:
        results.put((rank, traceback.format_exc()))


class Seen(NamedTuple):
    """What a rank saw of a trial: digests of (masks, state, parameters after its steps) of every epoch; at the end how many
    weights live, of how many, and what all weights are; whether rows were ever frozen."""

    seen: list
    live: int
    total: int
    frozen: bool
    weights: dict


def trained(ranks, plain, folder=None):
    """Train to the end."""
    from prune_search.training.data import cached_data
    from prune_search.training.trial import Trial

    config = TrialConfig.from_dict(plain)
    trial = Trial(config, cached_data(config.data, "cpu"), folder, ranks=ranks)
    seen, frozen, train = [], [], trial._train
    trial.removed = lambda: trial.model  # reports are not what this is about

    def noted():
        masks, state = digest(trial.pruner.masks), digest(trial.model.state_dict())
        frozen.append(bool(trial.pruner.frozen))
        loss = train()
        seen.append((masks, state, digest(dict(trial.model.named_parameters()))))
        return loss

    trial._train = noted
    for _ in range(config.training.epochs):
        trial.run_epoch()
        if ranks.share(lambda: trial.finished):
            break
    weights = {name: value.tolist() for name, value in trial.model.state_dict().items()}
    return Seen(seen, trial.pruner.live, trial.pruner.history.total, any(frozen), weights)


def digest(tensors):
    whole = hashlib.sha256()
    for name in sorted(tensors):
        whole.update(
            name.encode() + str(tuple(tensors[name].shape)).encode() + tensors[name].detach().numpy().tobytes()
        )
    return whole.hexdigest()


def validated(ranks, plain):
    """The outputs of a trained network on the validation split in batches of 16, by all ranks and by this one alone."""
    from prune_search.training.data import cached_data
    from prune_search.training.evaluation import logits
    from prune_search.training.trial import Trial

    config = TrialConfig.from_dict(plain)
    trial = Trial(config, cached_data(config.data, "cpu"), None, ranks=ranks)
    trial._agree(0.0)
    trial.pruner.epoch_start()
    trial._train()
    dealt = logits(trial.model, trial.data, trial.data.validation, 16, ranks)
    return len(dealt), dealt.tolist(), logits(trial.model, trial.data, trial.data.validation, 16).tolist()


def released(ranks, plain):
    """Whether what averages gradients is gone after an epoch, and its hooks with it."""
    from prune_search.training.data import cached_data
    from prune_search.training.trial import Trial

    config = TrialConfig.from_dict(plain)
    trial = Trial(config, cached_data(config.data, "cpu"), None, ranks=ranks)
    trial.pruner.epoch_start()
    with trial.stepping():
        averaging = weakref.ref(trial._trained)
        before = averaging() is not trial.model
    return before, averaging() is None


def synchronized(ranks):
    """What DDP says to synchronized batch norms of a CPU, what is left of them, and whether they compute as before."""
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    images = torch.randn(4, 1, 6, 6)
    before = model.eval()(images)
    try:
        with ranks.parallel(model.train(), synchronized=True):
            refused = ""
    except ValueError as error:
        refused = str(error)
    same = torch.equal(model.eval()(images), before)
    return refused, type(model[1]).__name__, same, sorted(vars(model[1])) == sorted(vars(nn.BatchNorm2d(3)))
