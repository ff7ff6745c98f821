"""The walls of the house: imports run one way, heavy libraries stay in their rooms."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CONTRACTS = """
[importlinter]
root_package = prune_search
include_external_packages = True

[importlinter:contract:layers]
name = rooms import one way
type = layers
layers =
    prune_search.cli
    prune_search.api
    prune_search.search | prune_search.cluster
    prune_search.export
    prune_search.training | prune_search.tracking | prune_search.pareto
    prune_search.spec
    prune_search.zoo | prune_search.pruning
    prune_search.removal
    prune_search.cost
    prune_search.errors

[importlinter:contract:mlflow]
name = mlflow lives in tracking
type = forbidden
source_modules =
    prune_search.cli
    prune_search.search
    prune_search.export
    prune_search.training
    prune_search.pareto
    prune_search.spec
    prune_search.zoo
    prune_search.pruning
    prune_search.removal
    prune_search.cost
forbidden_modules = mlflow
allow_indirect_imports = True

[importlinter:contract:optuna]
name = optuna lives in search
type = forbidden
source_modules =
    prune_search.cli
    prune_search.export
    prune_search.training
    prune_search.tracking
    prune_search.pareto
    prune_search.spec
    prune_search.zoo
    prune_search.pruning
    prune_search.removal
    prune_search.cost
forbidden_modules = optuna
allow_indirect_imports = True

[importlinter:contract:ray]
name = ray lives in search and the trial wrapper
type = forbidden
source_modules =
    prune_search.export
    prune_search.tracking
    prune_search.pareto
    prune_search.spec
    prune_search.zoo
    prune_search.pruning
    prune_search.removal
    prune_search.cost
    prune_search.training.trial
    prune_search.training.probe
forbidden_modules = ray
allow_indirect_imports = True
"""


def test_imports_run_one_way(tmp_path):
    config = tmp_path / "importlinter.ini"
    config.write_text(CONTRACTS)
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    arguments = ["--config", str(config), "--no-cache"]
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("from prune_search import prune", ("ray", "optuna", "mlflow")),
        ("import prune_search.pruning.pruner, prune_search.removal, prune_search.cost, prune_search.pareto", ("ray", "optuna", "mlflow")),
        ("from prune_search import load_spec", ("torch", "ray", "optuna", "mlflow")),
        ("from prune_search.pruning.registry import AXES, parts; [parts(axis) for axis in AXES]", ("torch",)),
        ("import prune_search.cli.main as m; m.build()", ("torch", "ray", "optuna", "mlflow")),
        ("import prune_search.search.driver", ("torch", "mlflow", "plotly", "sklearn", "scipy.stats")),
    ],
)  # fmt: skip
def test_what_an_import_does_not_bring_in(code, absent):
    check = f"{code}\nimport sys\nprint([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
