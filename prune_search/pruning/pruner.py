"""The engine: runs a recipe inside any training loop."""

from __future__ import annotations

import copy
import fnmatch
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prune_search.cost import prunable_layers
from prune_search.pruning.context import Batches, Context, Done, Masks, Passes
from prune_search.pruning.curve import Curve
from prune_search.pruning.history import History
from prune_search.pruning.recipe import Recipe, length
from prune_search.pruning.registry import AXES
from prune_search.pruning.selection import select
from prune_search.removal import apply, check_equal, dead_units, slice_like


class CollapsedLayer(RuntimeError):
    """An event left a layer without any weight: the network's answer no longer depends on its input there."""


class NonFiniteScore(RuntimeError):
    """A score was NaN or infinite, so that no ranking exists."""


@dataclass(frozen=True)
class Outcome:
    """What came of the end of an epoch.

    Attributes:
        event: Whether the network was changed.
        finished: No further epoch is to be trained.
        reason: Why the round ended, or why the trial did; empty if neither happened.
        removed: Whether tensors changed their shapes (the network physically shrank).
        passes: Images that measurements and evaluations sent through the network.
    """

    event: bool = False
    finished: bool = False
    reason: str = ""
    removed: bool = False
    passes: Passes = Passes()


class Pruner:
    """A recipe at work on a model.

    Masks hold after every optimizer step (through a hook on the optimizer), so pruned weights are exactly zero through
    momentum and weight decay. The model is changed in place; ``model`` is always the network to go on with.

    Args:
        model: The network. Its Conv and Linear weights are prunable, except in ``recipe.exclude``.
        recipe: What to do.
        optimizer: The optimizer that trains the model.
        epochs: The most epochs the model is trained: lengths below 1 in the recipe are fractions of it.
        loss: ``loss(outputs, labels)``, for parts that measure gradients.
        batches: ``batches(n)`` yields n training batches.
        evaluate: ``evaluate(model)`` is (validation loss, validation accuracy).
        example_input: One batch the model accepts; where given, every removal at an event is proven on it.
        seed: Everything random is drawn from (seed, epoch).
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        *,
        optimizer: torch.optim.Optimizer,
        epochs: int,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        batches: Batches | None = None,
        evaluate: Callable[[nn.Module], tuple[float, float]] | None = None,
        example_input: Tensor | None = None,
        seed: int = 0,
    ):
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {epochs}")
        self.model, self.recipe, self.optimizer, self.epochs = model, recipe, optimizer, epochs
        self.loss, self.batches, self.example_input, self.seed = loss, batches, example_input, seed
        self._evaluate = evaluate
        self.masks: Masks = {
            name: torch.ones_like(parameter, dtype=torch.bool) for name, parameter in self._prunable().items()
        }
        total = sum(mask.numel() for mask in self.masks.values())
        first = max(1, length(recipe.dense_epochs, epochs))
        last = epochs - max(1, length(recipe.final_epochs, epochs))
        self.history = History(epochs=epochs, first=first, last=last, total=total)
        self.states: dict[str, dict] = {axis: {} for axis in AXES}
        self.exhausted: str = ""
        self._started = False
        self._during = self._context()
        self._hook = optimizer.register_step_post_hook(self._after_step)
        self._refresh()

    def start(self) -> None:
        """Prune at initialisation where the recipe says so. Call once before the first epoch (``epoch_start`` does)."""
        if self._started:
            return
        self._started = True
        start = self.recipe.at_start
        if start is None:
            return
        for iteration in range(1, start.iterations + 1):
            context = self._context()
            context.history = _StartHistory.at(self.history, iteration, start.iterations)
            remaining = start.schedule.remaining(context, {})
            if isinstance(remaining, Done):
                break
            self._mask(context, remaining, start.score, start.distribution, {})
        self.history.live_after_masking.append(self.live)

    def epoch_start(self) -> None:
        """Tell the recipe that an epoch begins."""
        self.start()
        self._during = self._context()
        self.recipe.backward.select(self._during, self.states["backward"])

    def epoch_end(self, *, loss: float, accuracy: float) -> Outcome:
        """Record the validation of an epoch and do what the recipe asks for. See :meth:`record`, :meth:`advance`."""
        self.record(loss=loss, accuracy=accuracy)
        return self.advance()

    def record(self, *, loss: float, accuracy: float) -> None:
        """Record validation loss and accuracy (in [0, 1]) of the epoch that was just trained."""
        self.history.losses.append(float(loss))
        self.history.accuracies.append(float(accuracy))

    def advance(self) -> Outcome:
        """Decide and, if a round has ended, run the event.

        Raises:
            CollapsedLayer: The event left a layer without weights.
            NonFiniteScore: A score was not finite.
        """
        context = self._context()
        history = self.history
        reason = self._round_ended(context)
        if history.epoch >= history.epochs:
            return Outcome(finished=True, reason="epochs")
        event = removed = False
        if reason and not self.exhausted:
            event, removed = self._event(context, reason)
        final = max(1, length(self.recipe.final_epochs, history.epochs))
        finished = bool(self.exhausted and history.events and history.round_epochs >= final)
        passes = Passes(*(sum(p[i] for p in context.passes) for i in range(2)))
        return Outcome(event, finished, self.exhausted if finished else reason, removed, passes)

    @property
    def live(self) -> int:
        """Prunable weights that live."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    def mask_gradients(self) -> None:
        """Zero the gradients of pruned weights, so that they do not count in a gradient norm."""
        for parameter, mask in zip(self._parameters, self._multipliers, strict=True):
            if parameter.grad is not None:
                parameter.grad.mul_(mask)

    def planned_round(self) -> int:
        """Epochs the present round is expected to take: for learning rates that run over each round."""
        history, limits = self.history, self.recipe.round
        start = history.epoch - history.round_epochs
        if self.exhausted or start >= history.last:
            return history.epochs - start
        every = getattr(self.recipe.stopping, "epochs", None)
        expected = [length(every, history.epochs)] if every else []
        expected += [longest] if (longest := limits.longest(history.epochs)) else []
        planned = min(expected, default=history.last - start)
        least = max(length(limits.min_epochs, history.epochs), history.first - start, 1)
        return min(max(planned, least), history.last - start)

    def state_dict(self) -> dict[str, Any]:
        """All state as nested dicts and lists of numbers, strings and tensors."""
        return {
            "masks": dict(self.masks),
            "history": asdict(self.history),
            "states": self.states,
            "exhausted": self.exhausted,
            "started": self._started,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`; the model must have the shapes it had then."""
        self.masks = {name: mask.to(self._device, torch.bool) for name, mask in state["masks"].items()}
        self.history = History(**state["history"])
        self.states, self.exhausted, self._started = state["states"], state["exhausted"], state["started"]
        self._refresh()

    def detach(self) -> None:
        """Take the hook off the optimizer."""
        self._hook.remove()

    def _prunable(self) -> dict[str, nn.Parameter]:
        layers = prunable_layers(self.model)
        excluded = {name for pattern in self.recipe.exclude for name in fnmatch.filter(layers, pattern)}
        return {f"{name}.weight": layer.weight for name, layer in layers.items() if name not in excluded}

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _refresh(self) -> None:
        """Look up the parameters again and apply the masks: after anything that replaced either."""
        parameters = dict(self.model.named_parameters())
        self._parameters = [parameters[name] for name in self.masks]
        self._multipliers = [mask.to(parameters[name].dtype) for name, mask in self.masks.items()]
        self._apply_masks()

    @torch.no_grad()
    def _apply_masks(self) -> None:
        if self._parameters:
            torch._foreach_mul_(self._parameters, self._multipliers)

    def _after_step(self, *_: Any) -> None:
        self.recipe.regularizer.after_step(self._during, self.states["regularizer"])
        if self.history.live_after_masking:
            self._apply_masks()

    def _context(self) -> Context:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.history.epoch) % 2**63)
        return Context(
            model=self.model,
            masks=self.masks,
            optimizer=self.optimizer,
            generator=generator,
            batches=self.batches,
            evaluate=self._evaluate_masks if self._evaluate else None,
            example_input=self.example_input,
            history=self.history,
        )

    def _evaluate_masks(self, masks: Masks) -> tuple[float, float]:
        parameters = dict(self.model.named_parameters())
        saved = {name: parameters[name].detach().clone() for name in masks}
        try:
            with torch.no_grad():
                for name, mask in masks.items():
                    parameters[name].mul_(mask)
            return self._evaluate(self.model)
        finally:
            with torch.no_grad():
                for name, weight in saved.items():
                    parameters[name].copy_(weight)

    def _round_ended(self, context: Context) -> str | None:
        """Why the round ends now; None if it goes on."""
        history, limits = self.history, self.recipe.round
        reason = self.recipe.stopping.ended(context, self.states["stopping"])
        least = length(limits.min_epochs, history.epochs)
        if history.epoch < history.first or history.epoch > history.last:
            return None
        if history.epoch == history.last and isinstance(self.recipe.schedule, Curve):
            return reason or "end of the schedule"
        if history.round_epochs < least:
            return None
        longest = limits.longest(history.epochs)
        if longest is not None and history.round_epochs >= max(least, longest):
            return reason or "longest round"
        accuracy, dense = history.accuracies[-1], history.dense_accuracy
        if limits.accuracy_exit and history.events and accuracy >= dense:
            return reason or "accuracy regained"
        if limits.accuracy_gate is not None and not accuracy >= dense - limits.accuracy_gate:
            return None
        return reason

    def _event(self, context: Context, reason: str) -> tuple[bool, bool]:
        """Run an event; answers whether the network changed and whether it shrank."""
        recipe, history = self.recipe, self.history
        if recipe.max_events is not None and len(history.events) >= recipe.max_events:
            self.exhausted = "most events reached"
            return False, False
        remaining = recipe.schedule.remaining(context, self.states["schedule"])
        if isinstance(remaining, Done):
            self.exhausted = remaining.reason
            return False, False
        if recipe.target_sparsity is not None:
            least = round(history.total * (1 - recipe.target_sparsity))
            if context.live <= least:
                self.exhausted = "target sparsity reached"
                return False, False
            remaining = max(remaining, least)
        if remaining >= context.live:
            return False, False
        self._mask(context, remaining, recipe.score, recipe.distribution, self.states["score"])
        history.live_after_masking.append(self.live)
        history.events.append(history.epoch)
        history.reasons.append(reason)
        recipe.rewind.restore(self._context(), self.states["rewind"])
        removed = recipe.removal.at_events and self._remove()
        self._treat_optimizer()
        if recipe.recalibrate_batchnorm and self.batches is not None:
            context.passes.append(self._recalibrate(recipe.recalibrate_batchnorm))
        return True, removed

    def _mask(self, context: Context, remaining: int, score: Any, distribution: Any, state: dict) -> None:
        granularity = self.recipe.granularity
        scores = score.score(context, state)
        for name, values in scores.items():
            if not torch.isfinite(values[self.masks[name]]).all():
                raise NonFiniteScore(f"the score '{score.name}' is not finite in {name}")
        units = granularity.units(scores, self.masks)
        kept = select(units, distribution.pools(remaining, self.masks), self.recipe.floor)
        masks = granularity.masks(kept, self.masks)
        self.masks = self.recipe.growth.regrow(context, self.states["growth"], masks)
        empty = [name for name, mask in self.masks.items() if not mask.any()]
        if empty:
            raise CollapsedLayer(f"no weight is left in {', '.join(empty)}")
        self._refresh()

    def _remove(self) -> bool:
        """Cut what the masks left dead; the smaller network must answer as the masked one did."""
        plan = dead_units(self.model)
        if not plan:
            return False
        masked = copy.deepcopy(self.model) if self.example_input is not None else None
        kept = apply(self.model, plan, self.optimizer).kept
        if masked is not None:
            check_equal(masked, self.model, self.example_input)
        self.masks = {name: slice_like(mask, kept.get(name, ())) for name, mask in self.masks.items()}
        for axis, state in self.states.items():
            getattr(self.recipe, axis).reshape(state, kept)
        self._refresh()
        return True

    @torch.no_grad()
    def _treat_optimizer(self) -> None:
        if self.recipe.rewind.optimizer == "fresh":
            self.optimizer.state.clear()
        elif self.recipe.rewind.optimizer == "zero":
            for parameter, mask in zip(self._parameters, self._multipliers, strict=True):
                for value in self.optimizer.state.get(parameter, {}).values():
                    if torch.is_tensor(value) and value.shape == parameter.shape:
                        value.mul_(mask)

    @torch.no_grad()
    def _recalibrate(self, batches: int) -> Passes:
        norms = [
            m for m in self.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
        ]
        if not norms:
            return Passes()
        momenta, mode, images = [norm.momentum for norm in norms], self.model.training, 0
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        self.model.train()
        for inputs, _ in self.batches(batches):
            self.model(inputs)
            images += len(inputs)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.model.train(mode)
        return Passes(forward=images)


class _StartHistory(History):
    """The history as a schedule sees it at initialisation: the window is the iterations."""

    @classmethod
    def at(cls, history: History, iteration: int, iterations: int) -> _StartHistory:
        seen = cls(epochs=history.epochs, first=1, last=iterations, total=history.total)
        seen.losses = [math.nan] * iteration
        return seen
