"""When rounds end, how long they are expected to be, and where the learning rate stands in them. Free of torch."""

from __future__ import annotations

from prune_search.pruning.curve import Curve
from prune_search.pruning.history import History
from prune_search.pruning.recipe import Recipe, length
from prune_search.pruning.schedule.none import NoPruning


def ended(recipe: Recipe, history: History, reason: str | None) -> str | None:
    """Why the round ends now, None if it goes on; ``reason`` is the stopping part's answer."""
    limits = recipe.round
    least = length(limits.min_epochs, history.epochs)
    if history.epoch < history.first or history.epoch > history.last:
        return None
    if history.epoch == history.last and isinstance(recipe.schedule, Curve):
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


def final(recipe: Recipe, epochs: int) -> int:
    """Epochs of the last round."""
    return max(1, length(recipe.final_epochs, epochs))


def planned(recipe: Recipe, history: History, exhausted: bool) -> int:
    """Epochs the present round is expected to take; the last one ends where the trial does."""
    limits = recipe.round
    start = history.epoch - history.round_epochs
    if exhausted and history.events:
        return final(recipe, history.epochs)
    if exhausted or start >= history.last or isinstance(recipe.schedule, NoPruning):
        return history.epochs - start
    every = getattr(recipe.stopping, "epochs", None)
    expected = [length(every, history.epochs)] if every else []
    expected += [longest] if (longest := limits.longest(history.epochs)) else []
    least = max(length(limits.min_epochs, history.epochs), history.first - start, 1)
    expectation = max(min(expected, default=history.last - start), least)
    if start + expectation <= history.last:
        return expectation
    return (history.last if isinstance(recipe.schedule, Curve) else history.epochs) - start


def over_rounds(recipe: Recipe, horizon: str) -> bool:
    """Whether the learning rate runs over each round: asked for, or because the recipe rewinds it."""
    return horizon == "round" or recipe.rewind.learning_rate != "continue"


def clock(recipe: Recipe, history: History, exhausted: bool, horizon: str) -> tuple[float, float]:
    """Where the learning-rate schedule stands at the start of an epoch: (epochs done, epochs in all).

    Over rounds, a later round begins where the rewind says (epoch p of the N of the first round) and runs the rest of
    the schedule, p to N, in the epochs it is expected to take; where it takes N - p, the clock is that of the first round.
    """
    if not over_rounds(recipe, horizon):
        return history.epoch, history.epochs
    epochs = planned(recipe, history, exhausted)
    if not history.events:
        return history.round_epochs, epochs
    first = history.events[0]
    start = min(recipe.rewind.position(first, history.epochs), first - 1)
    scale = epochs / (first - start)
    return start * scale + history.round_epochs, first * scale


def data_epoch(recipe: Recipe, history: History) -> int:
    """Epochs done as the order of the data counts them: weights rewound to epoch k meet the data from epoch k on again."""
    if not history.events or recipe.rewind.data != "again":
        return history.epoch
    return recipe.rewind.position(history.events[0], history.epochs) + history.round_epochs
