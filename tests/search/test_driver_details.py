"""A search from start to end, without training anything: its clock, its stops, what MLflow is told, confirmations."""

import json
import logging
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from search.fakes import DATA, LAYERS, Cluster, Recorder, report
from search.small_spaces import SMALL, write

from prune_search.errors import UserError
from prune_search.search import closing, driver, execution, kept
from prune_search.search import confirm as confirming
from prune_search.search.confirm import Confirmed, confirm, confirmed_of
from prune_search.search.driver import Search
from prune_search.search.jobs import Ended
from prune_search.search.layout import Layout, existing
from prune_search.search.progress import Progress
from prune_search.search.results import Record, read
from prune_search.search.storage import open_storage, open_study
from prune_search.tracking.runs import RunInfo
from prune_search.training.files import CHECKPOINT, write_reports
from prune_search.training.remote import MARK, Away


@pytest.fixture
def tracker(monkeypatch):
    recorder = Recorder()
    for module in (driver, confirming):
        monkeypatch.setattr(module, "open_tracker", lambda layout, spec: recorder)
    return recorder


@pytest.fixture
def cluster(monkeypatch, tracker):
    return Cluster(monkeypatch)


def test_people_see_the_last_hundred_events(tmp_path):
    layout = Layout(tmp_path, "s")
    layout.folder.mkdir()
    Progress("s", 200, None, events=[f"event {n}" for n in range(150)]).write(layout)
    assert Progress.read(layout).events == [f"event {n}" for n in range(50, 150)]


def new(tmp_path, text=SMALL, **search):
    return Search(write(tmp_path, text, **{"trials": 3, **search}), runs=tmp_path / "runs", name="s")


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        ("search: {reuse: true", {"pruned": False}),  # rates without steps
        ("search: {reuse: auto", None),
        ("search: {reuse: false", None),
        ("resources: {workers: 2}\nsearch: {reuse: true", None),
    ],
)
def test_where_trials_find_epochs_of_others(tmp_path, cluster, settings, stages):
    path = tmp_path / "space.yaml"
    path.write_text(SMALL + settings + ", trials: 1, concurrency: 1}\n")
    search = Search(path, runs=tmp_path / "runs", name="s")
    search.run()
    assert cluster.options["stages"] == (stages and {"folder": str(search.layout.stages), **stages})


def test_a_whole_search(tmp_path, cluster, tracker):
    search = new(tmp_path)
    cluster.before_end = lambda job, options: states.append((search.progress.phase, dict(search.progress.running)))
    states = []
    found = search.run()
    assert [phase for phase, _ in states] == ["searching"] * 3
    assert [list(running) for _, running in states] == [[0], [1], [2]]
    assert states[0][1][0] | {"name": ""} == {"name": "", "epoch": 1, "accuracy": 0.9, "sparsity": 1}
    assert [record.number for record in found.front] == [0, 1, 2]
    assert [record.test_accuracy for record in found.front] == [0.5] * 3
    assert (search.progress.phase, search.progress.front, search.progress.running) == ("done", [0, 1, 2], {})
    assert search.progress.events[-1].endswith("completed: accuracy 0.8800, 998 params (1.0x), on the front")
    assert json.loads(search.layout.status.read_text())["counts"] == {"completed": 3}
    assert tracker.of("end_search") == [("end_search", "FINISHED")]
    assert [call[1:3] for call in tracker.of("end_trial")] == [(n, "completed") for n in range(3)]
    assert [call[1] for call in tracker.of("set_front")] == [[0], [0, 1], [0, 1, 2], [0, 1, 2]]
    assert [call[1] for call in tracker.of("log")] == [0, 1, 2]
    shown = tracker.of("start_trial")[0][3]
    assert shown["recipe"] in ("magnitude", "dyprune", "dense") and "training.optimizer.lr" in shown


def test_a_warning_is_seen_by_those_who_watch(tmp_path, cluster):
    watched = []

    def warn(job, options):
        logging.getLogger("prune_search").warning("the disk is slow")
        watched.append(search.progress.warning)

    cluster.before_end = warn
    search = Search(write(tmp_path, trials=1), runs=tmp_path / "runs", name="s")
    search.run()
    assert watched == ["the disk is slow"] and "warning: the disk is slow" in search.progress.events
    assert Progress.read(search.layout).warning == "the disk is slow"
    logging.getLogger("prune_search").warning("later")
    assert search.progress.warning == "the disk is slow"


def test_what_a_search_ran_on_is_kept_and_mlflow_knows_the_commit(tmp_path, cluster, tracker, monkeypatch):
    monkeypatch.setattr(driver, "code", lambda folder, modules: {"git commit": "abc and changes"})
    search = Search(write(tmp_path, trials=1), runs=tmp_path / "runs", name="s")
    origin = json.loads(search.layout.origin.read_text())
    assert origin["machine"]["cores"] >= 1 and origin["versions"]["torch"][0].isdigit()
    assert origin["code"] == {"git commit": "abc and changes"} and origin["roots"] == [str(tmp_path)]
    search.run()
    assert tracker.of("start_search")[0][2] == {"mlflow.source.git.commit": "abc"}


def test_a_password_is_for_the_owner_alone_and_not_in_the_log(tmp_path, cluster):
    def complain(job, options):
        logging.getLogger("mlflow").error("postgresql://me:word@db is away")
        try:
            raise OSError("postgresql://me:word@db refused")
        except OSError:
            logging.getLogger("prune_search").exception("it was")

    cluster.before_end = complain
    plain = Search(write(tmp_path, trials=1), runs=tmp_path / "runs", name="plain")
    assert plain.layout.space.stat().st_mode & 0o044
    text = SMALL + 'tracking: {uri: "postgresql://me:word@db/runs"}\n'
    search = Search(write(tmp_path, text, trials=1), runs=tmp_path / "runs", name="s")
    assert search.layout.space.stat().st_mode & 0o777 == 0o600 and "me:word@db" in search.layout.space.read_text()
    search.run()
    log = search.layout.log.read_text()
    assert "postgresql://***@db is away" in log and "OSError: postgresql://***@db refused" in log and "word" not in log


def test_a_new_search_of_which_no_trial_can_begin_is_deleted_and_an_old_one_stays(tmp_path, cluster, monkeypatch):
    cluster.result = lambda job: Ended("failed", "bad_input: no such file.", None)
    search = Search(write(tmp_path, trials=9), runs=tmp_path / "runs", name="s")
    with pytest.raises(UserError, match=r"^no such file\. No trial could begin\. Search 's' is deleted again\.$"):
        search.run()
    assert not search.layout.folder.exists()
    cluster.result = lambda job: Ended("failed", "nan_loss", None)
    Search(write(tmp_path, trials=1), runs=tmp_path / "runs", name="s").run()
    cluster.result = lambda job: Ended("failed", "bad_input: no such file.", None)
    found = Search.resume("s", runs=tmp_path / "runs", trials=3).run()
    assert [record.state for record in found.records] == ["failed"] * 3 and found.mistake == ""

    def refuse(config, address):
        raise UserError("no room")

    monkeypatch.setattr(execution, "resources", refuse)
    with pytest.raises(UserError, match="^no room$"):
        Search.resume("s", runs=tmp_path / "runs", trials=4).run()
    assert search.layout.folder.exists()
    with pytest.raises(UserError, match=r"^no room Search 't' is deleted again\.$"):
        Search(write(tmp_path, trials=1), runs=tmp_path / "runs", name="t").run()
    assert not (tmp_path / "runs" / "t").exists()


def test_a_storage_that_is_away_after_training_does_not_cost_the_search(tmp_path, cluster, monkeypatch):
    def away(*arguments):
        raise Away("the storage does not answer")

    monkeypatch.setattr(kept, "fetch", away)
    search = Search(write(tmp_path, trials=2), runs=tmp_path / "runs", name="s")
    with pytest.raises(Away):
        search.run()
    monkeypatch.undo()
    assert len(read(existing(tmp_path / "runs", "s"), search.spec).completed) == 2


def test_mlflow_shows_the_recipe_where_it_is_not_sampled(tmp_path, cluster, tracker):
    new(tmp_path, SMALL[: SMALL.index("recipe:")] + "recipe: dense\n" + SMALL[SMALL.index("objectives:") :]).run()
    shown = tracker.of("start_trial")[0][3]
    assert (sorted(shown), shown["recipe"]) == (["recipe", "training.optimizer.lr"], "dense")


def test_a_search_goes_on_with_more_trials_and_reads_the_test_split_once(tmp_path, cluster):
    new(tmp_path).run()
    search = Search.resume("s", runs=tmp_path / "runs", trials=5)
    assert (search.spec.search.trials, search.spec.search.concurrency) == (5, 2)
    search.layout.stop.touch()  # of an earlier stop
    found = search.run()
    assert [record.number for record in found.records] == [0, 1, 2, 3, 4]
    assert cluster.tested == [["0", "1", "2"], ["3", "4"]]
    assert Search.resume("s", runs=tmp_path / "runs").spec.search.trials == 3


def test_a_member_that_cannot_be_tested_is_said_and_asked_again_by_the_next(tmp_path, cluster, monkeypatch):
    def one_is_gone(jobs, cpus, gpus):
        cluster.test(jobs, cpus, gpus)
        return [UserError("gone") if Path(job[1]).name == "1" else closing.Tested(0.5, LAYERS, DATA) for job in jobs]

    with monkeypatch.context() as patch:
        patch.setattr(closing, "on_cluster", one_is_gone)
        search = new(tmp_path)
        assert {r.number: r.test_accuracy for r in search.run().front} == {0: 0.5, 1: None, 2: 0.5}
    assert "Trial 1 was not tested: gone" in search.layout.log.read_text()
    again = Search.resume("s", runs=tmp_path / "runs").run()
    assert {r.number: r.test_accuracy for r in again.front} == {0: 0.5, 1: 0.5, 2: 0.5}
    assert cluster.tested == [["0", "1", "2"], ["1"]]


def test_a_search_of_which_everything_fails_ends_and_tries_ten_more_when_resumed(tmp_path, cluster):
    cluster.result = lambda job: Ended("failed", "no", None)
    assert [record.state for record in new(tmp_path, trials=40).run().records] == ["failed"] * 10
    search = Search.resume("s", runs=tmp_path / "runs")
    assert len(search.run().records) == 20
    assert (search.progress.phase, dict(search.progress.counts)) == ("done", {"failed": 20})


@pytest.mark.parametrize("how", ["method", "file", "ctrl-c"])
def test_a_search_that_is_stopped_leaves_its_running_trials_and_the_test_split(tmp_path, cluster, tracker, how):
    search = new(tmp_path)
    search.layout.stages.mkdir()
    stops = {
        "method": search.stop,
        "file": search.layout.stop.touch,
        "ctrl-c": lambda: signal.raise_signal(signal.SIGINT),
    }
    handler = signal.getsignal(signal.SIGINT)
    cluster.before_end = lambda job, options: stops[how]() if job.number == 1 else None
    found = search.run()
    assert [record.state for record in found.records] == ["completed", "running"]
    assert search.interrupted == (how != "file")
    assert signal.getsignal(signal.SIGINT) is handler
    assert tracker.of("end_trial")[-1] == ("end_trial", 1, "interrupted", "stopped by the user")
    assert tracker.of("end_search") == [("end_search", "KILLED")]
    assert (search.progress.phase, search.progress.running) == ("interrupted", {})
    assert cluster.tested == [] and search.layout.stages.exists()
    search = Search.resume("s", runs=tmp_path / "runs")
    cluster.before_end = lambda job, options: None
    assert [record.state for record in search.run().records] == ["completed"] * 3
    assert not search.layout.stages.exists()
    assert cluster.tested == [["0", "1", "2"]]


def test_a_search_that_is_stopped_between_two_trials_is_not_done(tmp_path, cluster, tracker):
    search = new(tmp_path)
    search.stop()
    assert search.run().records == ()
    assert (search.progress.phase, tracker.of("end_search")) == ("interrupted", [("end_search", "KILLED")])


def test_a_trial_keeps_its_checkpoint_while_it_is_on_the_front(tmp_path, cluster):
    search = new(tmp_path, trials=4)
    accuracies = iter([0.6, 0.5, 0.7, 0.8])  # the second never is on it, the third pushes the first off it, and so on
    cluster.result = lambda job: report(next(accuracies), 1000)
    cluster.before_end = lambda job, options: (job.folder.mkdir(exist_ok=True), (job.folder / CHECKPOINT).touch())
    search.run()
    assert [number for number in range(4) if (search.layout.trial(number) / CHECKPOINT).exists()] == [3]


def test_messages_go_where_they_went_before_when_the_search_is_over(tmp_path, cluster):
    loggers = [logging.getLogger(name) for name in ("prune_search", "optuna", "ray", "mlflow")]
    cluster.before_end = lambda job, options: during.append(loggers[0].propagate)
    during, search = [], new(tmp_path, trials=1)
    search.run()
    assert during == [False]
    assert [logger.propagate for logger in loggers] == [True] * 4
    assert str(search.layout.log) not in {getattr(h, "baseFilename", "") for logger in loggers for h in logger.handlers}


def test_a_search_that_is_out_of_time_tests_its_front(tmp_path, cluster, tracker, monkeypatch):
    search = new(tmp_path, time="60s")
    clock = SimpleNamespace(time=lambda: clock.now, now=1000.0)
    monkeypatch.setattr(driver, "time", clock)

    def later(job, options):
        assert search.progress.deadline == 1060
        clock.now += 50

    cluster.before_end = later
    found = search.run()
    assert [record.state for record in found.records] == ["completed", "running"]
    assert tracker.of("end_trial")[-1] == ("end_trial", 1, "interrupted", "time budget over")
    assert (cluster.tested, search.progress.phase) == ([["0"]], "interrupted")
    assert not search.interrupted


def test_a_search_ends_when_its_device_time_is_spent(tmp_path, cluster):
    search = new(tmp_path, trials="null", device_time="2s")
    found = search.run()  # a trial holds one device for a second
    assert [record.state for record in found.records] == ["completed"] * 2
    assert search.progress.phase == "done"
    assert [record.number for record in Search.resume("s", runs=tmp_path / "runs").run().records] == [0, 1]


def test_a_search_ends_when_nothing_is_gained_any_more(tmp_path, cluster):
    accuracies = iter([0.5, 0.6, 0.6, 0.7, 0.6, 0.7, 0.9])
    cluster.result = lambda job: report(next(accuracies), 1000, params_reduction=100.0)
    search = new(tmp_path, trials=20, patience=2)
    found = search.run()
    assert [record.report.accuracy for record in found.records] == [0.5, 0.6, 0.6, 0.7, 0.6, 0.7]
    assert search.progress.phase == "done"


def test_running_trials_have_their_grace(tmp_path, cluster, monkeypatch):
    search = new(tmp_path, trials=20, time="60s", grace="100s")
    clock = SimpleNamespace(time=lambda: clock.now, now=1000.0)
    monkeypatch.setattr(driver, "time", clock)

    def later(job, options):
        clock.now += 50

    cluster.before_end = later
    found = search.run()
    assert [record.state for record in found.records] == ["completed", "completed"]
    assert search.progress.phase == "done"


def test_what_objectives_and_constraints_name_is_measured(tmp_path, cluster):
    text = SMALL.replace("params: minimize", "size_bytes: minimize") + 'constraints: {latency_ms: "<= 5"}\n'
    new(tmp_path, text).run()
    assert cluster.options["measure"] == ("latency_ms", "size_bytes")
    assert (cluster.options["concurrency"], cluster.options["share"]) == (2, execution.Share())


def test_mlflow_gets_what_a_driver_that_died_had_told_the_study_only(tmp_path, cluster, tracker):
    search = new(tmp_path)
    cluster.before_end = lambda job, options: search.stop() if job.number == 2 else None
    search.run()
    for number in (0, 1, 2):
        search.layout.trial(number).mkdir(parents=True, exist_ok=True)
        write_reports(search.layout.trial(number), [report(0.5 + number / 10, epoch=1)])
    tracker.calls.clear()
    tracker.runs = {0: RunInfo("a", "FINISHED", "completed", 1), 1: RunInfo("b", "RUNNING", None, 1)}
    cluster.before_end = lambda job, options: None
    Search.resume("s", runs=tmp_path / "runs").run()
    logged = [(name, number) for name, number, *_ in tracker.of("start_trial", "log", "end_trial")]
    again = [("start_trial", 1), ("log", 1), ("end_trial", 1)]
    assert logged == again + [("start_trial", 2), ("log", 2), ("log", 2), ("end_trial", 2)]
    assert [call[2].accuracy for call in tracker.of("log")][:2] == pytest.approx([0.6, 0.7])


# Confirmations


def records():
    configs = [{"recipe": "dyprune", "seed": 3}, {"recipe": "dense", "seed": 3}]
    reports = [report(), report(device_seconds=60.0)]
    return [Record(n, "completed", "", r, config, {}) for n, r, config in zip((4, 7), reports, configs)]


def test_a_confirmation_trains_new_seeds_once_and_reads_the_test_split_of_good_runs(tmp_path, cluster, tracker):
    search = new(tmp_path)
    open_study(search.layout, open_storage(search.layout, None), search.spec.objectives)
    asked, lines = [], []

    def result(job):
        asked.append((job.folder.name, job.config["seed"]))
        if job.config["recipe"] == "dense" and job.config["seed"] == 1001:
            return Ended("failed", "nan_loss: x", report(0.1))
        return report(0.5 + (job.config["seed"] - 1000) / 4)

    cluster.result = result
    first, second = confirm(search.spec, search.layout, records(), 2, done=lines.append)
    assert asked == [
        ("trial-7-seed-1000", 1000), ("trial-7-seed-1001", 1001), ("trial-4-seed-1000", 1000), ("trial-4-seed-1001", 1001)
    ]  # fmt: skip
    assert cluster.tested == [["trial-4-seed-1000", "trial-7-seed-1000", "trial-4-seed-1001"]]
    assert lines[2] == "#004 dyprune, seed 1000 completed: accuracy 0.5000, 1,000 params"
    assert (first.trial, first.recipe, first.failed, first.values["accuracy"]) == (4, "dyprune", (), (0.5, 0.75))
    assert (second.failed, second.values["test_accuracy"]) == (("nan_loss: x",), (0.5,))
    tracked = {call[1]: call[2] for call in tracker.of("log_metrics")}
    assert tracked[4] == {
        "confirmed_accuracy": 0.625, "confirmed_accuracy_error": 0.125,
        "confirmed_test_accuracy": 0.5, "confirmed_test_accuracy_error": 0.0,
    }  # fmt: skip
    assert tracked[7] == {"confirmed_accuracy": 0.5, "confirmed_test_accuracy": 0.5}
    plain = json.loads((search.layout.folder / "confirm.json").read_text())
    assert plain[0]["figures"]["accuracy"] == {"mean": 0.625, "standard_error": 0.125}
    assert confirmed_of(search.layout) == [first, second]

    asked.clear()
    confirm(search.spec, search.layout, records()[:1], 3, done=lines.append)
    assert asked == [("trial-4-seed-1002", 1002)]
    assert cluster.tested[1:] == [["trial-4-seed-1002"]]


def test_runs_that_were_not_tested_are_tested_later_or_trained_again_where_their_checkpoint_is_gone(
    tmp_path, cluster, monkeypatch
):
    search, lines, trained = new(tmp_path), [], []
    open_study(search.layout, open_storage(search.layout, None), search.spec.objectives)

    def trains(job, options):
        trained.append(job.folder.name)
        (job.folder / CHECKPOINT).touch()

    cluster.before_end = trains
    with monkeypatch.context() as patch:
        patch.setattr(closing, "on_cluster", lambda jobs, cpus, gpus: [UserError("away")] * len(jobs))
        (item,) = confirm(search.spec, search.layout, records()[:1], 2, done=lines.append)
    assert "test_accuracy" not in item.values and len(item.values["accuracy"]) == 2
    assert lines[2:] == [f"#004 dyprune, seed {seed} was not tested: away" for seed in (1000, 1001)]
    (search.layout.confirmed(4, 1001) / CHECKPOINT).unlink()
    (item,) = confirm(search.spec, search.layout, records()[:1], 2, done=lines.append)
    assert trained == ["trial-4-seed-1000", "trial-4-seed-1001", "trial-4-seed-1001"]
    assert item.values["test_accuracy"] == (0.5, 0.5)


def test_a_confirmation_keeps_its_runs_where_the_search_keeps_trials(tmp_path, cluster):
    search = new(tmp_path, SMALL + f"resources: {{storage: {tmp_path}/store/}}\n")
    open_study(search.layout, open_storage(search.layout, None), search.spec.objectives)
    shutil.rmtree(tmp_path / "store")  # a confirmation can be the first that writes there
    asked = []
    cluster.before_end = lambda job, options: asked.append(job.remote)
    confirm(search.spec, search.layout, records()[:1], 2, done=lambda line: None)
    assert asked == cluster.urls == [f"{tmp_path}/store/s/confirm/trial-4-seed-{seed}" for seed in (1000, 1001)]
    assert (tmp_path / "store" / "s" / MARK).exists()


def test_means_errors_and_differences():
    one = Confirmed(1, "lenet-5", "dyprune", (), {"test_accuracy": (1.0, 3.0), "loss": (1.0, 2.0, 6.0)})
    control = Confirmed(2, "lenet-5", "dense", (), {"test_accuracy": (1.0, 7.0), "loss": (1.0,)})
    assert (one.mean("loss"), one.error("loss")) == (3.0, pytest.approx((14 / 2 / 3) ** 0.5))
    assert (control.mean("test_accuracy"), control.error("test_accuracy")) == (4.0, pytest.approx(3.0))
    assert one.difference(control) == (-2.0, pytest.approx(10**0.5))
    assert str(control.error("loss")) == str(control.mean("params")) == "nan"


def test_a_folder_for_each_trial_and_seed(tmp_path):
    layout = Layout(tmp_path, "s")
    folders = {layout.confirmed(trial, seed) for trial in (1, 11) for seed in (1, 11)} | {
        layout.trial(1),
        layout.trial(11),
    }
    assert len(folders) == 6
