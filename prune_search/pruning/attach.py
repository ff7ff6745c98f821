"""A recipe in the user's own training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prune_search.errors import UserError
from prune_search.pruning.context import Batches, Probe
from prune_search.pruning.pruner import Pruner
from prune_search.pruning.recipe import Recipe, RecipeError, resolve


def prune(
    model: nn.Module,
    recipe: str | Mapping[str, Any] | Recipe,
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
) -> Pruner:
    """Attach a recipe to a model and its optimizer.

    Example::

        pruner = prune(model, "dyprune", optimizer=optimizer, epochs=30)
        for epoch in range(30):
            pruner.epoch_start()
            train_one_epoch(model, optimizer)          # masks hold after every optimizer.step()
            loss, accuracy = validate(model)
            if pruner.epoch_end(loss=loss, accuracy=accuracy).finished:
                break
        small = remove(pruner.model, example_input)

    Args:
        model: Changed in place; ``pruner.model`` is always the network to go on with.
        recipe: A preset's name, a mapping as in the YAML, or a Recipe.
        optimizer: Holds the model's parameters. Where the network shrinks, its parameters are replaced in place.
        epochs: The most epochs you will train: lengths below 1 in a recipe are fractions of it.
        loss, batches, evaluate, example_input: For the parts that need them; see :class:`Pruner`.
        probe: Training images for the parts that measure on a fixed set, class-balanced and not augmented. Without it,
            the first images that ``batches`` yields.
        train_images: How many images an epoch trains on: measurements are kept small against it.
        averages: Running averages of the model's weights (``torch.optim.swa_utils.AveragedModel``, or a copy), to be masked and
            to shrink with it.
        seed: Everything random is drawn from (seed, epoch).

    Raises:
        UserError: The recipe has a mistake or needs what was not given, or the network has nothing to prune.
    """
    try:
        built = recipe if isinstance(recipe, Recipe) else resolve(recipe)
    except RecipeError as error:
        raise UserError(f"recipe: {error}") from None
    return Pruner(
        model,
        built,
        optimizer=optimizer,
        epochs=epochs,
        loss=loss,
        batches=batches,
        probe=probe,
        train_images=train_images,
        evaluate=evaluate,
        example_input=example_input,
        averages=averages,
        seed=seed,
    )
