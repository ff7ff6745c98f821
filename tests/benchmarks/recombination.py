"""Does recombining parts pay? ``search_spaces/recombination.yaml`` against every preset's own search, equal trials.

    python -m tests.benchmarks.recombination [--trials 60] [--seeds 3] [--root data] [--runs runs] [--set KEY=VALUE]

A preset's own search samples, beside the training parameters of the space, every parameter of the preset's parts, over the
range that the space has for it or else the one that ``prune-search parts`` shows, and the target sparsity and round lengths
of the space. Prints hypervolumes
(objectives and reference point of the space; medians over search seeds), the same of what is at least 90 % accurate (near
chance, decades of parameters cost little accuracy), and the recombinations that stand on the fronts.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

import yaml

from prune_search import load_spec
from prune_search.pareto import hypervolume
from prune_search.pruning.presets import PRESETS
from prune_search.pruning.recipe import resolve
from prune_search.pruning.registry import AXES
from prune_search.search import execution
from prune_search.search.driver import Search
from prune_search.search.layout import existing, searches
from prune_search.search.results import Found, Record, read

SPACE = Path(__file__).parents[2] / "search_spaces" / "recombination.yaml"
CONTROLS = ("dense", "dyprune-authors")
COMMON = {
    "target_sparsity": {"low": 0.95, "high": 0.998},
    "final_epochs": {"choices": [0.2, 0.35, 0.5]},
    "floor": 0.001,
}


def own_space(preset: str) -> dict[str, Any]:
    """The recipe of a preset's own search."""
    recipe, space = resolve(preset), {"preset": preset, **COMMON}
    shared = yaml.safe_load(SPACE.read_text())["recipe"]["choices"]["dense-start"]
    for axis in AXES:
        part = getattr(recipe, axis)
        choices = shared.get(axis, {}).get("choices", {})
        ranges = choices[part.name] if isinstance(choices, dict) and part.name in choices else _ranges(part)
        space |= {f"{axis}.{name}": domain for name, domain in ranges.items()}
    if recipe.at_start:
        sparsity = {"low": 0.9, "high": 0.998}
        space["at_start"] = {"schedule": {recipe.at_start.schedule.name: {"final_sparsity": sparsity}}}
        del space["target_sparsity"]
    elif recipe.round.max_epochs is not None:
        space["round"] = {"max_epochs": {"choices": [2, 3]}}
    return space


def _ranges(part: Any) -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(part):
        limits = dict(field.metadata["range"])
        if field.type == "float" and "low" in limits and limits["low"] < limits["high"]:
            found[field.name] = {**limits, "low": float(limits["low"]), "high": float(limits["high"])}
            if found[field.name].get("log") and limits["low"] <= 0:
                del found[field.name]["log"]
        elif field.type == "int" and "low" in limits:
            found[field.name] = limits
    return found


def search(name: str, overrides: list[str], runs: Path) -> Found:
    """Run a search; one that was cut off goes on, one that has ended is read."""
    if name in searches(runs):
        layout = existing(runs, name)
        spec = layout.spec()
        found = read(layout, spec)
        ended = sum(record.state != "running" for record in found.records) == spec.search.trials
        return found if ended else Search.resume(name, runs=runs).run()
    return Search(load_spec(SPACE, overrides), runs=runs, name=name).run()


def parts_of(record: Record) -> str:
    """The parts of a recipe that are not those of a plain one; what is pruned before the first epoch stands first."""
    recipe = resolve(record.config["recipe"])
    start = recipe.at_start
    names = [f"{start.score.name} at the start ({start.distribution.name}, {start.iterations})"] if start else []
    axes = ("growth", "regularizer") if start else ("score", "schedule", "stopping", "rewind", "regularizer")
    return " + ".join([*names, *(name for axis in axes if (name := getattr(recipe, axis).name) != "none")])


def accurate(found: Found) -> float:
    """Hypervolume of the part of the front that is at least 90 % accurate."""
    reference = {"accuracy": 0.9, "params": found.dense["params"]}
    return hypervolume([record.metrics() for record in found.front], found.objectives, reference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--presets", nargs="*", default=[name for name in PRESETS if name not in CONTROLS])
    parser.add_argument("--root", default="data")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    volumes: dict[str, list[float]] = {}
    upper: dict[str, list[float]] = {}
    fronts: dict[str, int] = {}
    with execution.connected(None, 1, []):
        for seed in range(options.seeds):
            common = [
                f"search.trials={options.trials}",
                f"search.seed={seed}",
                f"data.root={options.root}",
                *options.overrides,
            ]
            for preset in ["recombination", *options.presets]:
                own = (
                    []
                    if preset == "recombination"
                    else [f"recipe={json.dumps(own_space(preset))}", "search.enqueue=[]"]
                )
                found = search(f"rc-{preset}-{seed}", [*common, *own], options.runs)
                volumes.setdefault(preset, []).append(found.hypervolume)
                upper.setdefault(preset, []).append(accurate(found))
                print(
                    f"seed {seed} {preset:16} {found.hypervolume:.4f}  above 90 %: {upper[preset][-1]:.4f}  "
                    f"{len(found.completed)} completed",
                    flush=True,
                )
                if preset == "recombination":
                    for record in found.front:
                        fronts[parts_of(record)] = fronts.get(parts_of(record), 0) + 1
    for title, found in (("hypervolume", volumes), ("above 90 %", upper)):
        medians = {preset: statistics.median(values) for preset, values in found.items()}
        for preset, median in sorted(medians.items(), key=lambda item: -item[1]):
            spread = f"{min(found[preset]):.4f} to {max(found[preset]):.4f}"
            print(f"{preset:16} median {title} {median:.4f} ({spread})")
        presets = [medians[preset] for preset in options.presets]
        print(f"recombination / median of presets {medians['recombination'] / statistics.median(presets):.3f}")
        print(f"recombination / best preset {medians['recombination'] / max(presets):.3f}")
    for parts, count in sorted(fronts.items(), key=lambda item: -item[1]):
        print(f"{count:3}  {parts}")


if __name__ == "__main__":
    main()
