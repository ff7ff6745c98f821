"""Epochs that were trained before: found by what they begin with, taken over bit for bit.

What training makes of an epoch is a function of the network, the optimizer's state and the masks at its beginning, of the data,
the settings and the seed, and of the device that computes it. A digest of all that names the checkpoint at the epoch's end. It is
the trial's own checkpoint file, linked: keeping it costs no time, and no space until the trial's own copy is replaced.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock
from torch import Tensor
from torch.utils._pytree import tree_flatten

from prune_search.training import checkpoint
from prune_search.training.optim import lay_out_state

if TYPE_CHECKING:
    from prune_search.training.trial import Trial

_LAYOUT = 1  # raise when a checkpoint, or what training does of itself, changes
SHARE = 0.1
"""Of the free space of a disk that kept epochs may take, the least recently used go first; our choice."""
_logger = logging.getLogger(__name__)


class Stages:
    """A folder of epochs' ends, shared by the trials of a search on all nodes that see it.

    Args:
        folder: Where they are kept, on the file system of the trials' own folders; made if missing.
        pruned: Whether epochs of pruned networks are kept, too.
        limit: Bytes that they may take; None: :data:`SHARE` of what is free.
    """

    def __init__(self, folder: Path, *, pruned: bool = False, limit: int | None = None) -> None:
        self.folder, self.pruned, self._limit = folder, pruned, limit

    @contextmanager
    def training(self, key: str) -> Iterator[Path | None]:
        """The end of the epoch ``key``, or None: train it, and :meth:`keep` it within the block.

        Who comes second waits until the first has kept it, or has ended in whatever way.
        """
        path = self.folder / f"{key}.safetensors"
        if _used(path):
            yield path
            return
        lock = self._lock(key)
        try:
            yield path if _used(path) else None
        finally:
            if lock is not None:
                if path.exists():  # nobody needs to wait any more
                    Path(lock.lock_file).unlink(missing_ok=True)
                lock.release()

    def keep(self, key: str, checkpoint: Path) -> None:
        """Keep a checkpoint as the end of the epoch ``key``. A folder that takes none costs only the sharing."""
        path = self.folder / f"{key}.safetensors"
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            part.unlink(missing_ok=True)
            try:
                os.link(checkpoint, part)
            except OSError:  # another file system, or one without links
                shutil.copyfile(checkpoint, part)
            os.utime(part)
            os.replace(part, path)
            self._make_room()
        except OSError as error:
            _logger.warning("The epoch is not shared: %s cannot be written (%s).", self.folder, error)

    def _lock(self, key: str) -> FileLock | None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f"{key}.lock")
            lock.acquire()
        except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
            _logger.warning("Epochs are not shared: %s cannot be locked (%s).", self.folder, error)
            return None
        return lock

    def _make_room(self) -> None:
        with os.scandir(self.folder) as entries:
            kept = [(entry.stat(), entry.path) for entry in entries if entry.name.endswith(".safetensors")]
        taken = sum(status.st_size for status, _ in kept)
        limit = self._limit
        if limit is None:
            limit = int(SHARE * (shutil.disk_usage(self.folder).free + taken))
        for status, path in sorted(kept, key=lambda each: each[0].st_mtime_ns):
            if taken <= limit:
                return
            Path(path).unlink(missing_ok=True)
            taken -= status.st_size


def begins(trial: Trial, changed: bool) -> Iterator[Any]:
    """All that the training of a trial's next epoch depends on, beside the epochs before it.

    Args:
        changed: The network is not what those made of it: it is new, or an event came between.
    """
    recipe, pruner, config = trial.config.recipe, trial.pruner, trial.config
    yield pruner.data_epoch, pruner.clock(config.training.schedule.horizon), repr([recipe.regularizer, recipe.backward])
    if changed:
        yield computer(trial.device), trial.data.fingerprint, config.seed
        yield [section.model_dump(mode="json") for section in (config.data, config.model, config.training)]
        yield trial.model.state_dict(), trial.optimizer.state_dict()["state"]
        pruning = pruner.state_dict()
        yield pruning["masks"], pruning["companions"], [pruning["states"][axis] for axis in ("regularizer", "backward")]


def take_over(trial: Trial, path: Path) -> tuple[float, float, float] | None:
    """Put a trial at the end of an epoch: its training loss, validation loss and accuracy; None if the file is broken or gone."""
    try:
        state = checkpoint.load(path, "model", "optimizer", "reports")
        model, optimizer, report = state["model"], state["optimizer"], state["reports"][-1]
        figures = report["train_loss"], report["loss"], report["accuracy"]
    except (OSError, checkpoint.Broken, LookupError, TypeError):
        path.unlink(missing_ok=True)
        return None
    trial.model.load_state_dict(model)
    trial.optimizer.load_state_dict(optimizer)
    lay_out_state(trial.optimizer)
    return figures


def digest(*parts: Any) -> str:
    """Of nested dicts, lists, numbers, strings and tensors: equal for equal bits, dtypes and shapes."""
    leaves, structure = tree_flatten(parts)
    found = hashlib.blake2b(repr(structure).encode(), digest_size=20)
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            found.update(f"{leaf.dtype} {tuple(leaf.shape)}".encode())
            found.update(leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        else:
            found.update(json.dumps(leaf).encode())
    return found.hexdigest()


def computer(device: torch.device) -> list[str]:
    """What rounding depends on: versions and kind of processor, torch's threads."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return [str(_LAYOUT), torch.__version__, device.type, kind, _processor(), str(torch.get_num_threads())]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _used(path: Path) -> bool:
    try:
        os.utime(path)
    except OSError:
        return False
    return True
