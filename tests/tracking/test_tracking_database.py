"""A new SQLite database is there whole, or not at all."""

import errno
import logging

import pytest
from alembic import command

from prune_search.tracking.connection import open_client

LOGGER = logging.getLogger("tracking-test")


@pytest.fixture
def migrations(tmp_path, monkeypatch):
    """What happens in the middle of MLflow's migrations: a function put here is called, with the database that is asked for."""
    happens, upgrade, file = [], command.upgrade, tmp_path / "new" / "mlflow.db"

    def interrupted(*arguments):
        happens.pop()(file)
        return upgrade(*arguments)

    monkeypatch.setattr(command, "upgrade", interrupted)
    return file, happens


def experiments(file):
    return [found.name for found in open_client(f"sqlite:///{file}", LOGGER).search_experiments()]


def test_one_that_was_cut_off_in_the_making_is_made_anew(migrations):
    file, happens = migrations

    def cut_off(file):
        assert not file.exists() and len([*file.parent.iterdir()]) == 1
        raise OSError(errno.ENOSPC, "No space left on device")

    happens.append(cut_off)
    with pytest.raises(OSError, match="No space"):
        experiments(file)
    assert [*file.parent.iterdir()] == []
    happens.append(lambda file: None)
    assert experiments(file) == ["Default"] and [*file.parent.iterdir()] == [file]
    assert experiments(file) == ["Default"]  # as it is: no migration


def test_one_that_another_process_made_meanwhile_stays(migrations, tmp_path):
    file, happens = migrations
    happens.append(lambda file: None)
    other = tmp_path / "other.db"
    open_client(f"sqlite:///{other}", LOGGER).create_experiment("theirs")
    happens.append(lambda file: file.write_bytes(other.read_bytes()))
    assert set(experiments(file)) == {"Default", "theirs"}
    assert [*file.parent.iterdir()] == [file]


def test_a_file_system_without_hard_links_will_do(migrations, monkeypatch):
    file, happens = migrations
    happens.append(lambda file: None)

    def refused(*paths):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    assert experiments(file) == ["Default"]
    assert [*file.parent.iterdir()] == [file]
