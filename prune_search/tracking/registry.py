"""MLflow's model registry: an exported folder goes in as a version of a model, and comes out again."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version as installed
from pathlib import Path
from uuid import uuid4

from prune_search.errors import UserError
from prune_search.tracking.connection import open_client
from prune_search.tracking.uris import absolute, redacted

PROGRAM = "model.pt2"  # the name under which MLflow's PyTorch flavor looks for a torch.export program
_MODEL_URI = re.compile(r"models:/(?P<name>[^/@:]+)(/(?P<version>\d+|latest)|@(?P<alias>[^/@:]+))")
_logger = logging.getLogger(__name__)


def register(uri: str, model_name: str, folder: Path, run_id: str, tags: Mapping[str, str], description: str) -> int:
    """Make an exported folder a new version of a registered model, which is created if there is none.

    The files become artifacts of the run, in a folder of their own for each version. With a ``.pt2`` file
    among them the version is an MLflow model: ``mlflow.pytorch.load_model("models:/NAME/VERSION")`` and
    ``mlflow.pyfunc.load_model`` load that very file.

    Args:
        uri: MLflow tracking URI, the registry's too.
        model_name: Name of the registered model.
        folder: What :mod:`prune_search.export` wrote.
        run_id: The run of the exported trial.
        tags: Tags of the version.
        description: Markdown shown beside the version, as the model card.

    Returns:
        The number of the version.

    Raises:
        UserError: if the folder is empty or missing, or MLflow refuses or does not answer.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(f"There is nothing to register in {folder}. Export a trial there first.")
    with _refusals(uri, f"register {folder} as '{model_name}'"), tempfile.TemporaryDirectory() as temporary:
        client = open_client(absolute(uri), _logger)
        if not client.search_registered_models(f"name = '{model_name}'"):
            client.create_registered_model(model_name)
        place = f"registered/{model_name}-{uuid4().hex[:8]}"
        staged = Path(shutil.copytree(folder, Path(temporary) / "model"))
        _describe(staged, run_id, place)
        client.log_artifacts(run_id, str(staged), place)
        source = f"{client.get_run(run_id).info.artifact_uri}/{place}"
        made = client.create_model_version(model_name, source, run_id, dict(tags), description=description)
        return int(made.version)


def resolve(uri: str, model: str) -> Path:
    """The folder of a registered model.

    Args:
        uri: MLflow tracking URI, the registry's too.
        model: ``models:/NAME/VERSION``, ``models:/NAME/latest`` or ``models:/NAME@ALIAS``.

    Returns:
        The folder itself where the files lie on this machine (read only), else a fresh temporary copy.

    Raises:
        UserError: if ``model`` is written otherwise, is not there, or MLflow does not answer.
    """
    asked = _MODEL_URI.fullmatch(model)
    if asked is None:
        raise UserError(f"Got '{model}'; allowed: models:/NAME/VERSION, models:/NAME/latest, models:/NAME@ALIAS.")
    with _refusals(uri, f"fetch '{model}'"):
        place = absolute(uri)
        client = open_client(place, _logger)
        from mlflow.artifacts import download_artifacts

        name, version = asked["name"], asked["version"]
        if version is None:
            version = client.get_model_version_by_alias(name, asked["alias"]).version
        elif version == "latest":
            found = client.search_model_versions(f"name = '{name}'", max_results=1, order_by=["version_number DESC"])
            if not found:
                raise UserError(
                    f"Model '{name}' has no version at {redacted(uri)}. Register one: `prune-search export`."
                )
            version = found[0].version
        # Not "models:/...": MLflow would look that up in the registry of the environment, not in this one.
        source = client.get_model_version_download_uri(name, str(version))
        return Path(download_artifacts(artifact_uri=source, tracking_uri=place))


def _describe(folder: Path, run_id: str, place: str) -> None:
    """Write the ``MLmodel`` file that makes a folder with a ``.pt2`` file an MLflow model."""
    programs = sorted(folder.glob("*.pt2"))
    if not programs:
        return
    import torch
    from mlflow import pyfunc
    from mlflow.models import Model

    if not (folder / PROGRAM).exists():
        programs[0].rename(folder / PROGRAM)
    requirements = folder / "requirements.txt"
    if not requirements.exists():
        requirements.write_text(f"mlflow>={installed('mlflow')}\ntorch>={torch.__version__.partition('+')[0]}\n")
    model = Model(artifact_path=place, run_id=run_id)
    model.add_flavor("pytorch", model_data=".", pytorch_version=str(torch.__version__), code=None)
    pyfunc.add_to_model(model, loader_module="mlflow.pytorch", data=".", model_config={"device": None})
    model.save(str(folder / "MLmodel"))


@contextmanager
def _refusals(uri: str, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not hasattr(error, "get_http_status_code"):
            raise
        raise UserError(
            f"MLflow at {redacted(uri)} could not {what}: {redacted(str(error)).rstrip('.')}. "
            "See what it has with `prune-search ui`."
        ) from error
