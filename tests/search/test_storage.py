"""A study in a real PostgreSQL that goes away and comes back."""

import resource
import threading

import optuna
import pytest
from optuna.trial import TrialState
from postgres import Postgres

from prune_search.errors import UserError
from prune_search.search import storage as storages
from prune_search.search.database import Patient
from prune_search.search.layout import Layout
from prune_search.search.storage import open_storage, open_study

OBJECTIVES = {"accuracy": "maximize", "params": "minimize"}


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.close()


def test_a_study_outlives_its_database(postgres, tmp_path, caplog):
    layout = Layout(tmp_path, "s")
    storage = open_storage(layout, postgres.url("away"))
    study = open_study(layout, storage, OBJECTIVES)
    trials = [study.ask() for _ in range(3)]
    study.tell(trials[0], [0.5, 100.0])
    postgres.stop()
    back = threading.Timer(1.5, postgres.start)
    back.start()
    with caplog.at_level("WARNING", logger="prune_search"):
        trials[1].set_user_attr("config", "{}")
    back.join()
    study.tell(trials[1], [0.6, 90.0])
    (told,) = [record.message for record in caplog.records if "does not answer" in record.message]
    assert "me@" not in told and "trying for 900 s" in told
    seen = optuna.load_study(
        study_name="s", storage=open_storage(layout, f"postgresql://me@127.0.0.1:{postgres.port}/away")
    )
    assert [trial.state for trial in seen.trials] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.RUNNING]
    assert seen.trials[1].user_attrs == {"config": "{}"} and seen.trials[1].values == [0.6, 90.0]


def test_a_database_that_stays_away_is_given_up(postgres, tmp_path):
    layout, url = Layout(tmp_path, "s"), postgres.url("gone")
    storage = Patient(optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True}), patience=0.3, pause=0.05)
    study = open_study(layout, storage, OBJECTIVES)
    postgres.stop()
    try:
        with pytest.raises(optuna.exceptions.StorageInternalError):
            study.ask()
        with pytest.raises(
            UserError, match=r"search.storage: postgresql://\*\*\*@.* does not answer: .*Start the database"
        ):
            open_storage(layout, url)
    finally:
        postgres.start()


def test_a_journal_that_a_full_disk_cut_off_goes_on(tmp_path):
    layout = Layout(tmp_path, "s")
    layout.folder.mkdir(parents=True)
    study = open_study(layout, open_storage(layout, None), OBJECTIVES)
    study.tell(study.ask(), [0.5, 1.0])
    trial = study.ask()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (layout.journal.stat().st_size + 40, hard))
    try:
        with pytest.raises(OSError):
            trial.set_user_attr("config", "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not layout.journal.read_bytes().endswith(b"\n")
    seen = optuna.load_study(study_name="s", storage=open_storage(layout, None))
    assert [trial.state for trial in seen.trials] == [TrialState.COMPLETE, TrialState.RUNNING]
    trial.set_user_attr("config", "y")
    study.tell(trial, [0.6, 2.0])
    seen = optuna.load_study(study_name="s", storage=open_storage(layout, None))
    assert [(t.state, t.user_attrs) for t in seen.trials] == [
        (TrialState.COMPLETE, {}),
        (TrialState.COMPLETE, {"config": "y"}),
    ]


def test_mistakes_are_not_tried_again(postgres, tmp_path):
    study = open_study(Layout(tmp_path, "s"), open_storage(Layout(tmp_path, "s"), postgres.url("mistakes")), OBJECTIVES)
    trial = study.ask()
    study.tell(trial, [0.5, 1.0])
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        trial.set_user_attr("late", 1)


def test_a_driver_that_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"needs a driver that is not installed: .*prune-search\[postgres\]"):
        open_storage(Layout(tmp_path, "s"), "postgresql+pg8000://me:word@host/db")


def test_the_lock_that_a_killed_process_left_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(storages, "STALE", 3.0)
    layout = Layout(tmp_path, "s")
    layout.folder.mkdir(parents=True)
    study = open_study(layout, open_storage(layout, None), OBJECTIVES)
    lock = layout.journal.with_name(layout.journal.name + ".lock")
    lock.symlink_to(layout.journal)
    asking = threading.Thread(target=study.ask, daemon=True)
    asking.start()
    asking.join(20)  # Optuna's own patience is 30 s
    assert not asking.is_alive() and not lock.exists() and len(study.trials) == 1
