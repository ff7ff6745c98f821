"""The engine: runs a recipe inside any training loop."""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from prune_search.cost.layers import prunable_layers, weight_of
from prune_search.pruning import rounds
from prune_search.pruning.averages import Averages
from prune_search.pruning.context import Batches, Context, Done, Masks, Passes, Pool, Probe
from prune_search.pruning.first_input import FirstInput
from prune_search.pruning.history import History
from prune_search.pruning.masking import check_layers, clear_optimizer, masked
from prune_search.pruning.probe import probe_from
from prune_search.pruning.ranking import Ranking
from prune_search.pruning.recipe import Recipe, length
from prune_search.pruning.registry import AXES
from prune_search.pruning.requirements import check_inputs, check_network
from prune_search.pruning.statistics import recalibrate
from prune_search.removal import apply, check_equal, dead_units, slice_like


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
        batches: ``batches(n)`` yields n training batches (inputs, labels), not augmented.
        probe: A fixed, class-balanced set of training images; see :class:`Probe`. Without it the first images that
            ``batches`` yields serve, kept in memory.
        train_images: How many images an epoch trains on: measurements are kept small against it.
        evaluate: ``evaluate(model)`` is (validation loss, validation accuracy).
        example_input: One batch the model accepts; where given, every removal at an event is proven on it.
        averages: Running averages of the model's weights (EMA, SWA), to be masked and to shrink with it.
        seed: Everything random is drawn from (seed, epoch).
        share: Where several processes train the network: ``share(take)`` is ``take()`` of the first, at all of them. Events
            happen in the first alone; before every epoch the others take over its states (model, optimizer, pruner).

    Raises:
        UserError: A part needs an argument that was not given, or the network has nothing to prune.
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
        probe: Probe | None = None,
        train_images: int | None = None,
        evaluate: Callable[[nn.Module], tuple[float, float]] | None = None,
        example_input: Tensor | None = None,
        averages: Iterable[nn.Module] = (),
        seed: int = 0,
        share: Callable[[Callable[[], Any]], Any] = lambda take: take(),
    ):
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {epochs}")
        self.model, self.recipe, self.optimizer, self.epochs = model, recipe, optimizer, epochs
        self.loss, self.batches, self.example_input, self.seed = loss, batches, example_input, seed
        self.probe = probe or (probe_from(batches) if batches else None)
        self.train_images, self._share = train_images, share
        self._evaluate, self._averages = evaluate, Averages(averages)
        self.masks: Masks = {
            name: torch.ones_like(parameter, dtype=torch.bool) for name, parameter in self._prunable().items()
        }
        self.companions: Masks = {}
        total = sum(mask.numel() for mask in self.masks.values())
        first = max(1, length(recipe.dense_epochs, epochs), recipe.rewind.earliest(epochs))
        last = epochs - rounds.final(recipe, epochs)
        self.history = History(epochs=epochs, first=first, last=last, total=total)
        self.states: dict[str, dict] = {axis: {} for axis in AXES}
        self.exhausted: str = ""
        check_network(recipe, prunable_layers(model), self.masks)
        check_inputs(recipe, {**vars(self), "evaluate": evaluate})
        recipe.granularity.check(self._context())
        self._first = FirstInput(model) if recipe.removal.at_events and example_input is None else None
        self._started = False
        self._hooks = (
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        )
        self._refresh()

    def start(self) -> Passes:
        """Prune at initialisation where the recipe says so. Call once before the first epoch (``epoch_start`` does).

        Returns:
            Images that measurements sent through the network.

        Raises:
            CollapsedLayer, NonFiniteScore: As :meth:`advance`.
        """
        if self._started:
            return Passes()
        self._started = True
        start, passes = self.recipe.at_start, []
        for iteration in range(1, start.iterations + 1 if start else 1):
            context = self._context()
            context.history = self.history.at_start(iteration, start.iterations)
            ranking = Ranking(context, start.score, self.recipe.granularity, start.distribution, {}, self.recipe.floor)
            amount = start.schedule.remaining(context, {})
            if isinstance(amount, Done):
                break
            self._set_masks(ranking.masks(ranking.pools(amount)), context)
            passes += context.passes
        if start:
            self.history.live_after_masking.append(self.live)
            if self.recipe.removal.at_events:
                self._remove()
        self.recipe.rewind.remember(self._context(), self.states["rewind"])
        return Passes.total(passes)

    def epoch_start(self) -> Passes:
        """Tell the recipe that an epoch begins. Returns images that measurements sent through the network."""
        passes = self.start()
        self._during = replace(self._context(), share=self._share)
        self.recipe.backward.select(self._during, self.states["backward"])
        return Passes.total([passes, *self._taken_during()])

    def epoch_end(self, *, loss: float, accuracy: float) -> Outcome:
        """Record the validation of an epoch and do what the recipe asks for. See :meth:`record`, :meth:`advance`."""
        passes = self.record(loss=loss, accuracy=accuracy)
        outcome = self.advance()
        return replace(outcome, passes=Passes.total([passes, outcome.passes]))

    def record(self, *, loss: float, accuracy: float) -> Passes:
        """Record validation loss and accuracy (in [0, 1]) of the epoch that was just trained.

        Returns:
            Images that measurements sent through the network during the epoch.
        """
        self.recipe.backward.release(self._during, self.states["backward"])
        self.history.losses.append(float(loss))
        self.history.accuracies.append(float(accuracy))
        self.recipe.rewind.remember(self._context(), self.states["rewind"])
        return Passes.total(self._taken_during())

    def advance(self) -> Outcome:
        """Decide and, if a round has ended, run the event.

        Raises:
            CollapsedLayer: The event left a layer without weights.
            NonFiniteScore: A score was not finite.
        """
        context, history = self._context(), self.history
        answer = None if self.exhausted else self.recipe.stopping.ended(context, self.states["stopping"])
        reason = rounds.ended(self.recipe, history, answer)
        if history.epoch >= history.epochs:
            return Outcome(finished=True, reason="epochs", passes=Passes.total(context.passes))
        event = removed = False
        if reason and not self.exhausted:
            event, removed = self._event(context, reason)
        final = rounds.final(self.recipe, history.epochs)
        finished = bool(self.exhausted and history.events and history.round_epochs >= final)
        return Outcome(event, finished, self.exhausted if finished else reason, removed, Passes.total(context.passes))

    @property
    def live(self) -> int:
        """Prunable weights that live."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    @property
    def frozen(self) -> dict[str, float]:
        """Weight -> share of its rows whose gradient is not computed in this epoch, where there are any."""
        return self.recipe.backward.frozen(self.states["backward"])

    @property
    def replayable(self) -> bool:
        """Whether every optimizer step of this epoch does the same: it may be a CUDA graph."""
        return self.recipe.regularizer.replayable and self.recipe.backward.replayable

    def mask_gradients(self) -> None:
        """Zero the gradients of pruned weights, so that they do not count in a gradient norm."""
        for parameter, mask in zip(self._parameters, self._multipliers, strict=True):
            if parameter.grad is not None:
                parameter.grad.mul_(mask)

    def clock(self, horizon: str = "trial") -> tuple[float, float]:
        """Where the learning-rate schedule stands at the start of the next epoch; see :func:`rounds.clock`.

        Args:
            horizon: ``trial`` or ``round``; a recipe that rewinds the learning rate makes it ``round``.
        """
        return rounds.clock(self.recipe, self.history, bool(self.exhausted), horizon)

    def over_rounds(self, horizon: str) -> bool:
        """Whether the learning rate runs over each round."""
        return rounds.over_rounds(self.recipe, horizon)

    @property
    def data_epoch(self) -> int:
        """Epochs done as the order of the data counts them; see :func:`rounds.data_epoch`."""
        return rounds.data_epoch(self.recipe, self.history)

    def state_dict(self) -> dict[str, Any]:
        """All state as nested dicts and lists of numbers, strings and tensors."""
        return {
            "masks": dict(self.masks),
            "companions": dict(self.companions),
            "history": asdict(self.history),
            "states": self.states,
            "exhausted": self.exhausted,
            "started": self._started,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`; the model must have the shapes it had then."""
        self.masks, self.companions = (
            {name: mask.to(self._device, torch.bool) for name, mask in state.get(which, {}).items()}
            for which in ("masks", "companions")
        )
        self.history = History(**state["history"])
        self.states, self.exhausted, self._started = state["states"], state["exhausted"], state["started"]
        for axis in ("regularizer", "backward"):  # they work beside the step, where the model is
            self.states[axis] = tree_map_only(Tensor, lambda value: value.to(self._device), self.states[axis])
        self._refresh()

    def detach(self) -> None:
        """Take the hooks off the optimizer."""
        for hook in self._hooks:
            hook.remove()

    def _prunable(self) -> dict[str, nn.Parameter]:
        layers = prunable_layers(self.model)
        excluded = {name for pattern in self.recipe.exclude for name in fnmatch.filter(layers, pattern)}
        return {weight_of(name): layer.weight for name, layer in layers.items() if name not in excluded}

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _refresh(self) -> None:
        """Look up the parameters again and apply the masks: after anything that replaced either."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        masks = {**self.masks, **self.companions}
        self._parameters = [parameters[name] for name in masks]
        self._multipliers = [torch.empty_like(parameters[name]).copy_(mask) for name, mask in masks.items()]
        self._during = replace(self._context(), share=self._share)
        self._apply_masks()

    @torch.no_grad()
    def _apply_masks(self) -> None:
        if self._parameters:
            torch._foreach_mul_(self._parameters, self._multipliers)

    def _before_step(self, *_: Any) -> None:
        self.recipe.regularizer.before_step(self._during, self.states["regularizer"])
        self.recipe.backward.before_step(self._during, self.states["backward"])

    def _after_step(self, *_: Any) -> None:
        self.recipe.regularizer.after_step(self._during, self.states["regularizer"])
        self.recipe.backward.after_step(self._during, self.states["backward"])
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
            probe=self.probe,
            train_images=self.train_images,
            loss=self.loss,
            evaluate=self._evaluate_masks if self._evaluate else None,
            example_input=self.example_input,
            history=self.history,
            partition=self.recipe.distribution.partition,
        )

    def _taken_during(self) -> list[Passes]:
        """What was measured during the epoch and not reported yet."""
        passes, self._during.passes = self._during.passes, []
        return passes

    def _evaluate_masks(self, masks: Masks) -> tuple[float, float]:
        with masked(self.model, masks):
            return self._evaluate(self.model)

    def _event(self, context: Context, reason: str) -> tuple[bool, bool]:
        """Run an event; answers whether the network changed and whether it shrank."""
        recipe, history = self.recipe, self.history
        if recipe.max_events is not None and len(history.events) >= recipe.max_events:
            self.exhausted = "most events reached"
            return False, False
        recipe.rewind.before(context, self.states["rewind"])
        ranking = Ranking(
            context, recipe.score, recipe.granularity, recipe.distribution, self.states["score"], recipe.floor
        )
        pools = self._amount(context, ranking)
        dropped = recipe.growth.share(history)
        if pools is None or (ranking.live(pools) >= context.live and not dropped):
            return False, False
        masks = ranking.masks([pool.thinned(dropped) for pool in pools])
        masks = recipe.growth.regrow(context, self.states["growth"], masks, pools)
        if all(torch.equal(mask, self.masks[name]) for name, mask in masks.items()):
            return False, False
        self._set_masks(masks, context)
        history.live_after_masking.append(self.live)
        history.events.append(history.epoch)
        history.reasons.append(reason)
        recipe.rewind.restore(self._context(), self.states["rewind"])
        self._apply_masks()
        removed = recipe.removal.at_events and self._remove()
        self._treat_optimizer()
        if recipe.recalibrate_batchnorm and self.batches is not None:
            context.passes.append(recalibrate(self.model, self.batches(recipe.recalibrate_batchnorm)))
        return True, removed

    def _amount(self, context: Context, ranking: Ranking) -> Sequence[Pool] | None:
        """What the event is to keep; None if no further event can come."""
        context.candidate = ranking.candidate
        amount = self.recipe.schedule.remaining(context, self.states["schedule"])
        if isinstance(amount, Done):
            self.exhausted = amount.reason
            return None
        pools = ranking.pools(amount)
        if self.recipe.target_sparsity is not None:
            least = round(self.history.total * (1 - self.recipe.target_sparsity))
            if context.live <= least:
                self.exhausted = "target sparsity reached"
                return None
            if ranking.live(pools) < least:
                pools = ranking.pools(least)
        return pools

    def _set_masks(self, masks: Masks, context: Context) -> None:
        check_layers(masks)
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        for name, mask in masks.items():
            grown = mask & ~self.masks[name]
            if grown.any():
                clear_optimizer(self.optimizer, parameters[name], ~grown)
        self.masks, self.companions = masks, self.recipe.granularity.companions(context, masks)
        self._averages.mask({**self.masks, **self.companions})
        self._refresh()

    def _remove(self) -> bool:
        """Cut what the masks left dead; the smaller network must answer as the masked one did."""
        example = self.example_input if self._first is None else self._first.value
        if example is None:  # never called yet: the next event removes what is dead by then
            return False
        plan = dead_units(self.model, example)
        if not plan:
            return False
        masked = copy.deepcopy(self.model)
        kept = apply(self.model, plan, self.optimizer).kept
        self._averages.cut(plan, example)
        check_equal(masked, self.model, example)
        self.masks, self.companions = (
            {name: slice_like(mask, kept.get(name, ())) for name, mask in masks.items()}
            for masks in (self.masks, self.companions)
        )
        for axis, state in self.states.items():
            getattr(self.recipe, axis).reshape(state, kept)
        self._refresh()
        return True

    def _treat_optimizer(self) -> None:
        if self.recipe.rewind.optimizer == "fresh":
            self.optimizer.state.clear()
        elif self.recipe.rewind.optimizer == "zero":
            for parameter, mask in zip(self._parameters, self._multipliers, strict=True):
                clear_optimizer(self.optimizer, parameter, mask)
