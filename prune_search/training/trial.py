"""One trial: trains one sampled configuration, epoch by epoch, and can go on from any of its checkpoints."""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prune_search.cost import Cost, count, step_flops, trace_positions
from prune_search.cost.layers import weight_of
from prune_search.cost.measured import latency_ms, peak_memory_bytes, size_bytes
from prune_search.cost.metrics import Report
from prune_search.cost.training import forward_flops
from prune_search.pruning.context import Passes
from prune_search.pruning.probe import balanced
from prune_search.pruning.pruner import Outcome, Pruner
from prune_search.removal import Plan, apply, check_equal, dead_units, resize, trained_parameters
from prune_search.spec.config import TrialConfig
from prune_search.training.evaluation import accuracy, cross_entropy, evaluate
from prune_search.training.files import CHECKPOINT
from prune_search.training.optim import build_optimizer, factor, fusable, lay_out_state, set_learning_rate
from prune_search.training.outcomes import NonFiniteLoss
from prune_search.training.ranks import SOLO, Ranks
from prune_search.training.replay import replayed
from prune_search.training.saver import Saver
from prune_search.training.stages import Stages, begins, digest, take_over
from prune_search.zoo.data import Data
from prune_search.zoo.importing import is_import_path, load_object
from prune_search.zoo.models import build_model, check_model

EXAMPLES = 8


class Trial:
    """A configuration in training. Everything random is drawn from (seed, epoch), so a resumed trial is the same trial.

    Order in an epoch: train, validate, measure cost, Report, save, decide, event. An event shows in the next Report.

    Args:
        config: What to train.
        data: Its data, on ``device``.
        folder: Where its checkpoint and reports are; made if missing. None keeps nothing.
        devices: Cores or GPUs it holds, for ``device_seconds``.
        measure: Which of latency_ms, size_bytes, peak_memory_bytes to measure at every Report.
        ranks: The processes that train it together, each with a Trial of its own. Only the first has a folder, reports and
            decisions; the others call :meth:`run_epoch` as often as it does.
        stages: Where epochs that another trial trained alike are taken from; not used with several ranks. The results are the
            same without.
        behind: Called after each checkpoint, by the thread that writes them while training goes on; None: training waits. See
            :meth:`settle`.
    """

    def __init__(
        self,
        config: TrialConfig,
        data: Data,
        folder: Path | None,
        *,
        device: torch.device | str = "cpu",
        devices: float = 1.0,
        measure: Sequence[str] = (),
        ranks: Ranks = SOLO,
        stages: Stages | None = None,
        behind: Callable[[], None] | None = None,
    ):
        self.config, self.data, self.device = config, data, torch.device(device)
        self.folder, self.ranks = folder if ranks.first else None, ranks
        self._saver = Saver(self.folder, behind) if self.folder is not None else None
        self._stages = None if folder is None or ranks.size > 1 else stages
        self.devices, self.measure = devices, tuple(measure)
        training = config.training
        on_gpu, own = self.device.type == "cuda", is_import_path(config.model.name)
        graphs, last = training.cuda_graphs, training.channels_last
        replays = not own and not is_import_path(training.loss) if graphs == "auto" else graphs
        self._replays = replays and on_gpu and ranks.size == 1
        self._synchronized = training.sync_batchnorm and on_gpu
        self._channels_last = not own if last == "auto" else last
        self.loss = _function(training.loss, cross_entropy)
        self.metric = _function(training.metric, accuracy)
        self.example = data.inputs(data.train.images[:EXAMPLES])
        state = self._saver.load() if self._saver else None
        model = build_model(
            config.model.name,
            input_shape=data.input_shape,
            num_classes=len(data.classes),
            seed=config.seed,
            checkpoint=config.model.checkpoint if state is None else None,
            options=config.model.options,
        ).to(self.device)
        check_model(model, data)
        self.positions = trace_positions(model, self.example)
        self.dense: Cost = count(model, self.positions)
        self.train_flops, self.seconds, self.finished, self.reason = 0.0, 0.0, False, ""
        self.spared_flops = 0.0
        """Of ``train_flops``, what another trial spent."""
        self._trace, self._changed = "", True
        """Digest of all epochs so far, and whether the network is not what the last of them made of it."""
        self.reports: list[Report] = []
        self._proven: Plan | None = None
        self._attach(model, state)
        if state is not None:
            self._restore(state)

    @property
    def model(self) -> nn.Module:
        return self.pruner.model

    @property
    def epoch(self) -> int:
        return self.pruner.history.epoch

    @property
    def rounds(self) -> str:
        """After which epochs an event came, and why the round ended there: ``3: dense; 5: flow plateau``."""
        history = self.pruner.history
        return "; ".join(f"{epoch}: {why}" for epoch, why in zip(history.events, history.reasons, strict=True))

    def run_epoch(self) -> Report | None:
        """Train, validate, report, save and decide. Afterwards ``finished`` says whether it was the last.

        Returns:
            The report; None at other ranks than the first.

        Raises:
            NonFiniteLoss, CollapsedLayer, NonFiniteScore, RemovalError: Named ends of a trial.
        """
        started = time.perf_counter()
        macs = count(self.model, self.positions).macs
        if self.ranks.size > 1:
            self._agree(macs)
        self._measured(self.pruner.epoch_start(), macs)
        cost, frozen = count(self.model, self.positions), self.pruner.frozen
        idle = sum(layer.macs * frozen.get(weight_of(layer.name), 0.0) for layer in cost.layers)
        flops = step_flops(cost.macs, len(self.data.train.labels), idle)
        self.train_flops += flops
        with self._stage() as known:
            if known is None:
                train_loss = self._train()
                loss, score = self._validate(self.model, self.ranks)
            else:
                train_loss, loss, score = known
                self.spared_flops += flops
            if not self.ranks.first:
                self.pruner.record(loss=train_loss, accuracy=math.nan)  # until the first rank's history comes
                return None
            if not (math.isfinite(train_loss) and math.isfinite(loss)):
                raise NonFiniteLoss(f"training loss {train_loss}, validation loss {loss} in epoch {self.epoch + 1}")
            self._measured(self.pruner.record(loss=loss, accuracy=score), macs)
            self.seconds += time.perf_counter() - started
            report = self._report(train_loss, loss, score)
            self.reports.append(report)
            self._save()
        self._decide()
        return report

    def removed(self) -> nn.Module:
        """The network as it is exported: physically smaller where the recipe removes, batch norm kept. It is the model itself
        where nothing is to be cut, else a copy; what is cut is proven on the example again when it changes.
        """
        plan = dead_units(self.model, self.example, narrow=True) if self.config.recipe.removal.at_end else Plan()
        if not plan:
            return self.model
        small = copy.deepcopy(self.model)
        apply(small, plan)
        if self._proven is None or not plan.cuts_as(self._proven):
            check_equal(self.model, small, self.example)
            self._proven = plan
        return small

    def settle(self) -> None:
        """Wait until the last checkpoint is written.

        Raises:
            OSError, or what ``behind`` raised: It could not be.
        """
        if self._saver is not None:
            self._saver.wait()

    def close(self) -> None:
        """End the thread that writes checkpoints."""
        if self._saver is not None:
            self._saver.close()

    def _decide(self) -> None:
        started = time.perf_counter()
        macs = count(self.model, self.positions).macs
        outcome: Outcome = self.pruner.advance()
        self._measured(outcome.passes, macs)
        self._changed = outcome.event
        self.finished = outcome.finished and (self.epoch == self.config.training.epochs or self._annealed())
        if self.finished:
            pruned = bool(self.pruner.history.live_after_masking)
            self.reason = self.pruner.exhausted or outcome.reason if pruned else "no_event"
        self.seconds += time.perf_counter() - started

    def _annealed(self) -> bool:
        """Whether ending before the cap cuts no learning rate off: it is constant, or runs over each round.

        Otherwise a trial whose recipe can have no further event goes on to the cap (our choice).
        """
        schedule = self.config.training.schedule
        return schedule.name == "constant" or self.pruner.over_rounds(schedule.horizon)

    def _measured(self, passes: Passes, macs: float) -> None:
        """Count images that a measurement sent through a network of ``macs``."""
        self.train_flops += forward_flops(macs, passes.forward + 2 * passes.backward)

    @contextmanager
    def _stage(self) -> Iterator[tuple[float, float, float] | None]:
        """Training loss, validation loss and accuracy of an epoch that was trained before, its end taken over; None where the
        block is to train it, and then to save it.
        """
        stages = self._stages
        pruned = bool(self.pruner.history.live_after_masking)
        if stages is None or not self.pruner.replayable or (pruned and not stages.pruned):
            yield None
            return
        self._trace = digest(self._trace, *begins(self, self._changed))
        with stages.training(self._trace) as path:
            known = path and take_over(self, path)
            yield known
            if known is None:
                self.settle()
                stages.keep(self._trace, self.folder / CHECKPOINT)

    def _train(self) -> float:
        """One epoch over the training split; the mean loss per image."""
        data = self.data
        torch.manual_seed(self._seed() + self.ranks.rank)
        shares = [self.ranks.part(batch) for batch in self._batches(2 * self.ranks.size)]
        augmenting = torch.Generator(self.device).manual_seed(self._seed() + self.ranks.rank)
        total = torch.zeros((), device=self.device, dtype=torch.float64)
        self.model.train()
        with self.stepping() as step:
            for number, index in enumerate(shares):
                set_learning_rate(self.optimizer, self._learning_rate(number / len(shares), 1 / len(shares)))
                images = data.augmented(data.train.images[index], augmenting)
                total += step(data.inputs(images), data.train.labels[index]) * len(index)
        return float(self.ranks.mean(total)) / sum(len(index) for index in shares)

    @contextmanager
    def stepping(self) -> Iterator[Callable[[Tensor, Tensor], Tensor]]:
        """:meth:`step`, as a CUDA graph where that is safe and was possible so far."""
        if not self._replays or not self.pruner.replayable:
            with self.ranks.parallel(self.model, self._synchronized) as self._trained:
                yield self.step
            self._trained = self.model
            return
        with replayed(self.step, self.optimizer) as step:
            yield step
        self._replays = not step.failed

    def step(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """One optimizer step on a batch; the loss, detached, still on the device."""
        with self._autocast():
            loss = self._training_loss(self._trained(inputs), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.training.clip_norm is not None:
            self.pruner.mask_gradients()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.training.clip_norm)
        self.optimizer.step()
        return loss.detach()

    def _training_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if self.config.training.label_smoothing:
            return self.loss(outputs, labels, label_smoothing=self.config.training.label_smoothing)
        return self.loss(outputs, labels)

    def _learning_rate(self, share: float, steps: float) -> float:
        """The learning rate after ``share`` of the present epoch; a step is a share ``steps`` of it."""
        schedule, rate = self.config.training.schedule, self.config.training.optimizer.lr
        done, horizon = self.pruner.clock(schedule.horizon)
        done += share
        if done < schedule.warmup:
            return rate * (done + steps) / (schedule.warmup + steps)
        span = horizon - schedule.warmup
        return rate * factor(schedule, min(1.0, (done - schedule.warmup) / span) if span > 0 else 1.0)

    def _validate(self, model: nn.Module, ranks: Ranks = SOLO) -> tuple[float, float]:
        with self._autocast():
            return evaluate(model, self.data, self.data.validation, self.loss, self.metric, ranks)

    def _try(self, model: nn.Module) -> tuple[float, float]:
        """Validation of a network that a part tries, counted as a measurement."""
        self._measured(Passes(forward=len(self.data.validation.labels)), count(model, self.positions).macs)
        return self._validate(model)

    def _autocast(self) -> Any:
        precision = self.config.training.precision
        wanted = precision == "bf16" or (
            precision == "auto" and self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        return torch.autocast(self.device.type, torch.bfloat16) if wanted else nullcontext()

    def sample_batches(self, number: int) -> list[tuple[Tensor, Tensor]]:
        """``number`` training batches, not augmented, drawn by (seed, epoch)."""
        chosen = self._batches(2)[:number]
        return [(self.data.inputs(self.data.train.images[index]), self.data.train.labels[index]) for index in chosen]

    def _batches(self, least: int) -> list[Tensor]:
        """Which images each batch of this epoch has. A last one below ``least`` is left out: batch norm cannot take one image."""
        generator = torch.Generator().manual_seed(self._seed())
        order = torch.randperm(len(self.data.train.labels), generator=generator).to(self.device)
        batches = list(order.split(self.config.training.batch_size))
        return batches[:-1] if len(batches[-1]) < min(least, len(batches[0])) else batches

    def _draw_probe(self, images: int | None = None, *, per_class: int | None = None) -> tuple[Tensor, Tensor]:
        """A fixed, class-balanced set of training images, not augmented, drawn by the seed: inputs and labels."""
        labels = self.data.train.labels
        index = balanced(labels, images or per_class * len(self.data.classes), self.config.seed)
        return self.data.inputs(self.data.train.images[index]), labels[index]

    def _seed(self) -> int:
        return (self.config.seed * 1_000_003 + 7919 * (self.pruner.data_epoch + 1)) % 2**63

    def _report(self, train_loss: float, loss: float, score: float) -> Report:
        history, network = self.pruner.history, self.removed()
        cost = count(network, self.positions).against(self.dense)
        whole = step_flops(self.dense.physical_macs, len(self.data.train.labels)) * self.config.training.epochs
        measured = {}
        if "latency_ms" in self.measure:
            measured["latency_ms"] = latency_ms(network, self.example[:1])[0]
        if "size_bytes" in self.measure:
            measured["size_bytes"] = size_bytes(network)
        if "peak_memory_bytes" in self.measure:
            measured["peak_memory_bytes"] = peak_memory_bytes(network, self.example[:1])
        return Report(
            epoch=history.epoch,
            accuracy=score,
            loss=loss,
            train_loss=train_loss,
            **cost.metrics(),
            train_flops=self.train_flops,
            train_flops_ratio=self.train_flops / whole,
            train_flops_spent=self.train_flops - self.spared_flops,
            events=len(history.events),
            live_after_masking=history.live_after_masking[-1] if history.live_after_masking else history.total,
            seconds=self.seconds,
            device_seconds=self.seconds * self.devices,
            **measured,
        )

    def _save(self) -> None:
        if self._saver is None:
            return
        state = {
            **self._network(),
            "train_flops": self.train_flops,
            "spared_flops": self.spared_flops,
            "trace": self._trace,
            "seconds": self.seconds,
            "reports": [report.metrics() for report in self.reports],
        }
        self._saver.save(state, self.reports)

    def _network(self) -> dict[str, Any]:
        """The network and all that trains and prunes it."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "pruner": self.pruner.state_dict(),
        }

    def _attach(self, model: nn.Module, state: dict[str, Any] | None = None) -> None:
        """Train and prune ``model`` from here on, as :meth:`_network` says it stood."""
        if state is not None:
            resize(model, {name: value.shape for name, value in state["model"].items()})
            model.load_state_dict(state["model"])
        if self._channels_last:
            model.to(memory_format=torch.channels_last)
        settings = self.config.training.optimizer
        self.optimizer = build_optimizer(trained_parameters(model), settings, fused=fusable(model))
        self.pruner = Pruner(
            model,
            self.config.recipe,
            optimizer=self.optimizer,
            epochs=self.config.training.epochs,
            loss=self.loss,
            batches=self.sample_batches,
            probe=functools.cache(self._draw_probe),
            train_images=len(self.data.train.labels),
            evaluate=self._try,
            example_input=self.example,
            seed=self.config.seed,
            share=self.ranks.share,
        )
        self._trained = model
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
            lay_out_state(self.optimizer)
            self.pruner.load_state_dict(state["pruner"])

    def _agree(self, macs: float) -> None:
        """Every rank stands where the first does."""
        if self.ranks.first:
            self._measured(self.pruner.start(), macs)
        state = self.ranks.share(self._network)
        if not self.ranks.first:
            self._attach(self.model, state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.train_flops, self.seconds = state["train_flops"], state["seconds"]
        self.spared_flops, self._trace = state.get("spared_flops", 0.0), state.get("trace", "")
        self.reports = [Report(**report) for report in state["reports"]]
        self._decide()


def _function(name: str, default: Callable) -> Callable:
    return load_object(name) if ":" in name else default
