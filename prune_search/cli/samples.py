"""A look at a search space without starting anything."""

from __future__ import annotations

import random
from typing import Any

from prune_search.cli.console import console
from prune_search.spec import Spec
from prune_search.spec.domains import Domain, Float, Int


def draw(spec: Spec, seed: int) -> tuple[Any, dict[str, Any]]:
    """One random configuration (a TrialConfig) and the values it was made of."""
    generator, values = random.Random(seed), {}

    def suggest(name: str, domain: Domain) -> Any:
        options = domain.values()
        if options is not None:
            values[name] = generator.choice(options)
        elif isinstance(domain, (Float, Int)) and domain.log:
            values[name] = domain.low * (domain.high / domain.low) ** generator.random()
        else:
            values[name] = domain.low + (domain.high - domain.low) * generator.random()
        return values[name]

    return spec.sample(suggest), values


def show_samples(spec: Spec, number: int = 3) -> None:
    """Print the space and ``number`` random configurations."""
    console.print(f"{spec.path}: valid. {len(spec.parameters())} parameters, objectives {', '.join(spec.objectives)}")
    for seed in range(number):
        _, values = draw(spec, seed)
        console.print(f"sample {seed + 1}")
        for name, value in values.items():
            console.print(f"  {name} = {value}", markup=False)
