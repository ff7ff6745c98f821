"""The data that a run used, as MLflow's datasets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def log_data(client: Any, run_id: str, data: Mapping[str, Any]) -> None:
    """Make ``data`` (``name``, ``root``, ``fingerprint``, anything else) an input of a run. Twice is as once.

    MLflow takes 36 characters of a digest; 16 of the fingerprint's stand for it, and the profile has it whole.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=data["name"],
        digest=data["fingerprint"][:16],
        source_type="local",
        source=json.dumps({"uri": data["root"]}),
        profile=json.dumps({key: value for key, value in data.items() if key not in ("name", "root")}),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
