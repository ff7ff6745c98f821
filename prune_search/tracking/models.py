"""Networks as MLflow models: what a run puts out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

CODE, MODULE = "code", "prune_search_network"


def log_model(client: Any, run_id: str, name: str, files: Sequence[Path], loader: Path, metrics: Sequence[str]) -> None:
    """Log files as a model of a run, unless it has one; see :meth:`prune_search.tracking.Tracker.log_model`."""
    from mlflow import pyfunc
    from mlflow.entities import LoggedModelOutput, Metric
    from mlflow.models import Model

    run = client.get_run(run_id)
    if run.outputs and run.outputs.model_outputs:
        return
    made = client.create_logged_model(run.info.experiment_id, name, run_id, tags={"run": run.info.run_name})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for file in files:
            shutil.copy(file, folder)
        (folder / CODE).mkdir()
        shutil.copy(loader, folder / CODE / f"{MODULE}.py")
        needs = [f"{package}=={version(package)}" for package in ("mlflow", "torch", "safetensors", "numpy")]
        (folder / "requirements.txt").write_text("\n".join(needs) + "\n")
        model = Model(artifact_path=made.artifact_location, run_id=run_id, model_id=made.model_id)
        pyfunc.add_to_model(model, loader_module=MODULE, data=".", code=CODE)
        model.save(str(folder / "MLmodel"))
        client.log_model_artifacts(made.model_id, temporary)
    client.finalize_logged_model(made.model_id, "READY")
    histories = [client.get_metric_history(run_id, key) for key in metrics if key in run.data.metrics]
    last = [max(history, key=lambda metric: metric.step) for history in histories]
    same = [Metric(m.key, m.value, m.timestamp, m.step, model_id=made.model_id, run_id=run_id) for m in last]
    client.log_batch(
        run_id, metrics=same, synchronous=True
    )  # to the model: the run has them, and MLflow drops what is alike
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, max((m.step for m in last), default=0))])
