"""URIs, the registry and the UI's command line."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import sys
from contextlib import closing

import pytest

from prune_search.errors import UserError
from prune_search.tracking import free_port, redacted, register, resolve, ui_command, ui_environment, ui_links
from prune_search.tracking.uris import absolute, is_server


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sqlite:///runs/mlflow.db", "sqlite:///runs/mlflow.db"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("postgresql://me:wo/r@d@db:5432/runs", "postgresql://***@db:5432/runs"),
        ("https://token@host/x failed, see https://host/y", "https://***@host/x failed, see https://host/y"),
        ("http://host/api?access_token=abc&page=2", "http://host/api?access_token=***&page=2"),
        ("mysql://host/runs?password=abc", "mysql://host/runs?password=***"),
    ],
)
def test_redacted(text, shown):
    assert redacted(text) == shown


def test_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("sqlite:///runs/mlflow.db") == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert absolute("sqlite:///a.db?timeout=5") == f"sqlite:///{tmp_path}/a.db?timeout=5"
    for same in (
        "sqlite:////a/b.db",
        "sqlite://",
        "sqlite:///:memory:",
        "http://host:5000",
        "postgresql://db/runs",
    ):
        assert absolute(same) == same
    assert [is_server(uri) for uri in ("http://a", "https://a", "databricks", "postgresql://a", "sqlite:///a")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_ui_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no MLflow database at runs.mlflow.db"):
        ui_command("sqlite:///runs/mlflow.db", 5000)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").touch()
    command = ui_command("sqlite:///runs/mlflow.db", 5001)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5001"
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{tmp_path}/runs/mlflow.db"
    with pytest.raises(UserError, match=r"http://\*\*\*@host has a UI of its own"):
        ui_command("http://me:word@host", 5000)


def test_a_store_of_another_mlflow_is_told(tmp_path, uri, tracker):
    made = tracker()
    made.start_search({}, {}, "")
    assert made.flush(60)
    file = tmp_path / "old.db"
    shutil.copy(uri.removeprefix("sqlite:///"), file)
    with closing(sqlite3.connect(file)) as database:
        database.execute("update alembic_version set version_num = '0584bdc529eb'")
        database.commit()
    with pytest.raises(UserError, match=f"out-of-date database schema.*mlflow db upgrade sqlite:///{file}$"):
        ui_links(f"sqlite:///{file}", 5000)


def test_credentials_are_not_on_the_command_line():
    uri = "postgresql://me:word@db/runs"
    assert not any("word" in part for part in ui_command(uri, 5000))
    assert ui_environment(uri)["MLFLOW_BACKEND_STORE_URI"] == uri
    assert ui_environment(uri)["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_ports():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port} on 127.0.0.1 cannot be used: .*--port"):
            free_port(port)
    assert free_port(port) == port
    assert 5000 <= free_port() < 5100
    for wrong in (0, 65536):
        with pytest.raises(UserError, match=f"Port {wrong} does not exist; allowed: 1 to 65535"):
            free_port(wrong)


@pytest.fixture
def run_id(tracker) -> str:
    one = tracker()
    one.start_search({}, {}, "")
    one.start_trial(0, "#000", {})
    return one.known()[0].run_id


def test_register_and_resolve(tracker, run_id, uri, tmp_path, runs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "trial-0"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"first")
    assert register(uri, "plain", folder, run_id, {"trial": "0"}, "# Card") == 1
    (folder / "model.onnx").write_bytes(b"second")
    assert register(uri, "plain", folder, run_id, {}, "") == 2

    assert (resolve(uri, "models:/plain/1") / "model.onnx").read_bytes() == b"first"
    assert (resolve(uri, "models:/plain/latest") / "model.onnx").read_bytes() == b"second"
    runs.client.set_registered_model_alias("plain", "production", "1")
    assert resolve(uri, "models:/plain@production") == resolve(uri, "models:/plain/1")
    version = runs.client.get_model_version("plain", "1")
    assert (version.run_id, version.description, version.tags) == (run_id, "# Card", {"trial": "0"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trial-0"]  # no store of MLflow's own choice


def test_register_and_resolve_say_what_is_wrong(run_id, uri, tmp_path):
    with pytest.raises(UserError, match="nothing to register"):
        register(uri, "x", tmp_path, run_id, {}, "")
    with pytest.raises(UserError, match="Got 'plain'; allowed: models:/NAME/VERSION"):
        resolve(uri, "plain")
    with pytest.raises(UserError, match="could not fetch 'models:/nobody@x'.*not found"):
        resolve(uri, "models:/nobody@x")
    with pytest.raises(UserError, match="'nobody' has no version"):
        resolve(uri, "models:/nobody/latest")


def test_a_registered_program_is_an_mlflow_model(run_id, uri, tmp_path, monkeypatch):
    import mlflow
    import torch

    monkeypatch.chdir(tmp_path)  # loading opens MLflow's default store
    linear = torch.nn.Linear(3, 2).eval()
    program = torch.export.export(linear, (torch.zeros(2, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    folder = tmp_path / "trial-0"
    folder.mkdir()
    torch.export.save(program, folder / "net.pt2")
    assert register(uri, "program", folder, run_id, {}, "") == 1
    found = resolve(uri, "models:/program/1")
    inputs = torch.randn(5, 3)
    assert torch.equal(mlflow.pytorch.load_model(str(found))(inputs), linear(inputs))
    predicted = mlflow.pyfunc.load_model(str(found), model_config={"device": "cpu"}).predict(inputs.numpy())
    assert torch.equal(torch.from_numpy(predicted), linear(inputs).detach())
    assert [path.name for path in folder.iterdir()] == ["net.pt2"]  # untouched
