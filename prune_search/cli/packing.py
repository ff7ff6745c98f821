"""``prune-search doctor --packing``: how many trials of a space should share this machine's device."""

from __future__ import annotations

import os
from pathlib import Path

from prune_search.cli.console import console, show_json
from prune_search.errors import UserError

ENOUGH = 1.05  # so many times faster must more trials at once be; our choice: below, a trial only takes longer


def show_packing(space: Path, json: bool) -> None:
    """Measure and print images a second for more and more trials at once, and what to write for the best.

    Raises:
        UserError: Not even one trial trains.
    """
    import torch

    from prune_search.spec import load_spec
    from prune_search.spec.reachable import import_roots
    from prune_search.spec.space import variants
    from prune_search.training.packing import rates

    spec = load_spec(space)
    gpu = torch.cuda.is_available()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    steps = [1, 2, 4, 8, 16] if gpu else sorted({1, max(1, cores // 2), cores, 2 * cores})
    plain = next(iter(variants(spec.tree)))[0]
    where = torch.cuda.get_device_name(0) if gpu else f"{cores} CPU cores"
    if not json:
        console.print(f"dense trials of {space.name} on {where}")
    found: dict[int, float] = {}
    try:
        with import_roots(spec.roots):  # the processes that it starts take this one's import path
            for together, rate in rates(plain, steps, device="cuda" if gpu else "cpu"):
                found[together] = rate
                if not json:
                    times = rate / found[steps[0]]
                    console.print(f"{together:3} at once: {rate:9.0f} images/s, {times:.2f} times one alone")
                if gpu and together > 1 and rate < ENOUGH * found[steps[steps.index(together) - 1]]:
                    break
    except RuntimeError as error:  # as when memory does not suffice for so many: what was measured before stands
        if not found:
            raise UserError(f"--packing: {error}; what it wrote is above. Try: prune-search check {space}") from None
        if not json:
            console.print(str(error))
    best = next(n for n in sorted(found) if found[n] * ENOUGH >= max(found.values()))
    setting = f"resources.gpus_per_worker={1 / best:g}" if gpu else f"search.concurrency={best}"
    if json:
        show_json({"device": where, "images_per_second": found, "best": best, "setting": setting})
    else:
        console.print(f"best: --set {setting}")
