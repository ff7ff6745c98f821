"""Layer by layer, what is left of a network of the front: found when its test accuracy is, kept in the trial's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from prune_search.pareto.charts import Layer
from prune_search.search.layout import write_json

LAYERS = "layers.json"


def write_layers(folder: Path, network: Sequence[Layer]) -> None:
    """Keep them in a trial's folder, made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / LAYERS, [asdict(layer) for layer in network])


def read_layers(folder: Path) -> list[Layer]:
    """In the network's order; empty where they were not kept."""
    path = folder / LAYERS
    return [Layer(**plain) for plain in json.loads(path.read_text())] if path.exists() else []
