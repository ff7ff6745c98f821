"""The Ray side of a trial: an actor that trains one configuration after another, alone or through several ranks.

Torch is imported when the first trial begins, in the process that trains: the driver needs this module, but not torch.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ray import tune

from prune_search.cost.metrics import Report
from prune_search.training.files import CHECKPOINT, ERROR, REPORTS, patiently, write_reports
from prune_search.training.remote import FILES, Away, at_hand, push

_logger = logging.getLogger(__name__)


class Rank:
    """One process of a trial, which is its first rank where it is the only one."""

    def __init__(self) -> None:
        self._ranks: Any = None
        self.trial: Any = None
        self._held = ExitStack()

    def meet(self, rank: int, size: int, address: str, device: str) -> None:
        """Join the other ranks; see :func:`prune_search.training.ranks.join`."""
        from prune_search.training.ranks import join

        self._ranks = join(rank, size, address, device)

    def begin(self, config: dict[str, Any]) -> bool:
        """Begin a trial, or go on with one that has a checkpoint; whether that had finished.

        What goes wrong is told by the first :meth:`step`.
        """
        self.end()
        self._number, self._url, self._error = config["number"], config.get("remote"), None
        self._folder = Path(config["folder"])
        try:
            import torch

            from prune_search.spec.config import TrialConfig
            from prune_search.training.checkpoint import Broken
            from prune_search.training.data import cached_data
            from prune_search.training.ranks import SOLO
            from prune_search.training.stages import Stages
            from prune_search.training.trial import Trial

            torch.set_num_threads(config["threads"])
            trial_config = TrialConfig.from_dict(config["config"])
            device = "cuda" if config["gpus"] else "cpu"
            ranks = self._ranks or SOLO
            kept = at_hand(self._folder, self._url, FILES if ranks.first else ())
            self._folder = self._held.enter_context(kept)
            stages = config.get("stages")
            begin = functools.partial(
                Trial,
                trial_config,
                cached_data(trial_config.data, device),
                self._folder,
                device=device,
                devices=ranks.size * (config["gpus"] or config["cpus"]),
                measure=config["measure"],
                ranks=ranks,
                stages=stages and Stages(Path(stages["folder"]), pruned=stages["pruned"]),
                behind=lambda folder=self._folder, url=self._url: push(folder, url),
            )
            try:
                self.trial = begin()
            except Broken as error:
                _logger.warning("It begins anew: %s", error)
                (self._folder / CHECKPOINT).unlink()
                self.trial = begin()
        except Exception as error:
            self._error = error
        return bool(self.trial and self.trial.finished)

    def step(self) -> dict[str, Any]:
        """One epoch; the result that Tune gets (of the first rank, the others' ``report`` is None).

        Raises:
            torch.distributed.DistError: The ranks lost each other.
            Away: ``resources.storage`` did not answer.
        """
        from torch.distributed import DistError

        try:
            if self._error is not None:
                raise self._error
            if self.trial.finished:
                report = self.trial.reports[-1]
                write_reports(self._folder, self.trial.reports)  # it may have ended between checkpoint and reports
                if self.trial.folder is not None:
                    push(self._folder, self._url, (REPORTS,))
            else:
                report = self.trial.run_epoch()
                if self.trial.finished:
                    self.trial.settle()
            return self._result(report, "completed" if self.trial.finished else "running", self.trial.reason)
        except (DistError, Away):
            raise
        except Exception as error:
            story = "".join(traceback.format_exception(error))
            patiently(lambda: self._folder.mkdir(parents=True, exist_ok=True))
            patiently(lambda: (self._folder / ERROR).write_text(story))
            push(self._folder, self._url, (ERROR,))
            reports = self.trial.reports if self._error is None else []
            from prune_search.training.outcomes import reason_of

            return self._result(reports[-1] if reports else None, "failed", reason_of(error))

    def end(self) -> None:
        """Let the trial go."""
        if self.trial is not None:
            self.trial.close()
        self.trial = None
        self._held.close()

    def _result(self, report: Report | None, state: str, reason: str) -> dict[str, Any]:
        return {
            "number": self._number,
            "report": json.dumps(report.metrics()) if report else None,
            "state": state,
            "reason": reason,
            "rounds": self.trial.rounds if self.trial else "",
            "pid_of_trial": os.getpid(),
            "done": state != "running",
        }


class TrialWorker(tune.Trainable):
    """Trains ``config["job"]``; each step is one epoch. Continues from the job folder's checkpoint if there is one.

    The actor is reused: torch stays imported and the data stay loaded from one trial to the next, in its ranks, too.
    A result holds ``report`` (metrics by name, as JSON: Tune flattens nested dicts), ``state`` (running, completed,
    failed), ``reason``, ``rounds`` (why each ended) and ``number``.
    """

    def setup(self, config: dict[str, Any]) -> None:
        if config.get("workers", 1) > 1:
            from prune_search.training.group import Group

            self._rank: Any = Group(config["workers"], config["cpus"], config["gpus"])
        else:
            self._rank = Rank()
        self._rank.begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._rank.begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        return self._rank.step()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Checkpoints are kept by the trial itself, in its own folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See :meth:`save_checkpoint`."""

    def cleanup(self) -> None:
        self._rank.end()
