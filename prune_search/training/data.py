"""The data a configuration names, loaded once per process."""

from __future__ import annotations

import functools
import json

from prune_search.spec.config import DataConfig
from prune_search.zoo.data import Data, load_data


def data_of(config: DataConfig) -> Data:
    """Load the data a configuration names, on the CPU."""
    return load_data(
        config.name,
        root=config.root,
        train_size=config.train_size,
        validation_size=config.validation_size,
        augment=config.augment,
        split_seed=config.split_seed,
        size=config.size,
        options=config.options,
    )


def cached_data(config: DataConfig, device: str) -> Data:
    """As :func:`data_of`, on a device, kept for the next trial of this process."""
    return _cached(config.model_dump_json(), device)


@functools.lru_cache(maxsize=2)
def _cached(key: str, device: str) -> Data:
    return data_of(DataConfig(**json.loads(key))).to(device)
