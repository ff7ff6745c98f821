"""What a study is asked and told, in detail: waiting, resuming, constraints, samplers, what Tune passes on."""

import json
from functools import partial
from types import SimpleNamespace

import optuna
import pytest
from search.small_spaces import SMALL
from search.test_source import drain, report, source

from prune_search.search.adapter import Adapter, Scheduler
from prune_search.search.asking.asker import Asker
from prune_search.search.asking.history import History
from prune_search.search.asking.samplers import sampler
from prune_search.search.jobs import Ended, Job, NoMore, Wait
from prune_search.search.layout import Layout
from prune_search.search.results import Record, read
from prune_search.search.source import StudySource, ended_of
from prune_search.search.storage import open_storage, open_study
from prune_search.spec import load_spec

DONE = Ended("completed", "epochs", report())
DENSE = SMALL[: SMALL.index("recipe:")] + "recipe: dense\n" + SMALL[SMALL.index("objectives:") :]


def rates(configs):
    return [config["training"]["optimizer"]["lr"] for config in configs]


# Waiting and resuming


def test_a_deterministic_search_looks_back_as_far_as_trials_run_at_once(tmp_path):
    made, *_ = source(tmp_path, slots=3, deterministic="true", batch=1)
    jobs = [made.next() for _ in range(3)]
    assert [job.number for job in jobs] == [0, 1, 2]
    assert isinstance(made.next(), Wait)


def test_a_deterministic_search_waits_for_resumed_trials_too(tmp_path):
    made, *_ = source(tmp_path, slots=2, deterministic="true", batch=2)
    for _ in range(2):
        made.next()
    again, *_ = source(tmp_path, slots=2, deterministic="true", batch=2)
    first, _ = again.next(), again.next()
    assert isinstance(again.next(), Wait)
    again.end(first, DONE)
    assert again.next().number == 2


def test_every_hand_out_report_and_end_is_told_once_and_in_order(tmp_path):
    told = []
    layout = Layout(tmp_path, "s")
    layout.folder.mkdir()
    (tmp_path / "small.yaml").write_text(SMALL + "search: {trials: 2}\n")
    callbacks = {
        "started": lambda job: told.append(("started", job.number)),
        "reported": lambda job, seen: told.append(("reported", job.number, seen.accuracy)),
        "ended": lambda job, ended: told.append(("ended", job.number, ended.state)),
    }
    spec, storage = load_spec(tmp_path / "small.yaml"), open_storage(layout, None)
    made = StudySource(spec, layout, storage, 1, **callbacks, asking=partial(Asker, threaded=False))
    for _ in range(2):
        job = made.next()
        made.report(job, report(0.25))
        made.end(job, DONE)
    assert isinstance(made.next(), NoMore)
    assert told == [
        ("started", 0), ("reported", 0, 0.25), ("ended", 0, "completed"),
        ("started", 1), ("reported", 1, 0.25), ("ended", 1, "completed"),
    ]  # fmt: skip


def test_a_job_is_named_and_shows_what_was_sampled(tmp_path):
    made, *_ = source(tmp_path, enqueue="[{recipe: magnitude, training.optimizer.lr: 0.1}]")
    job = made.next()
    assert (job.name, job.folder) == ("#000 magnitude", tmp_path / "s" / "trials" / "0")
    assert job.params.pop("recipe.magnitude.schedule.final_sparsity") >= 0.5
    assert job.params == {"training.optimizer.lr": 0.1, "recipe": "magnitude"}


@pytest.mark.parametrize(
    ("recipe", "chosen", "name"),
    [
        ("dyprune", {}, "dyprune"),
        ({"preset": "random"}, {}, "random"),
        ({"floor": 0.1}, {}, "magnitude"),
        ({"preset": "random"}, {"recipe": "ours"}, "ours"),
        ({"preset": "random"}, {"recipe": '{"preset": "random"}'}, "random"),
    ],
)
def test_a_recipe_is_called_by_the_option_or_its_preset(recipe, chosen, name):
    assert Record(0, "running", "", None, {"recipe": recipe}, chosen).recipe == name


# Results


def test_of_several_constraints_the_broken_ones_are_named_and_a_limit_that_is_met_is_none(tmp_path):
    text = SMALL + 'constraints: {accuracy: ">= 0.75", loss: "<= 0.5", params: "<= 1000"}\n'
    made, ended, layout, spec = source(tmp_path, text=text, trials=2)
    results = iter([report(0.75, 1000, loss=0.5), report(0.5, 1000, loss=0.75)])
    drain(made, lambda job: Ended("completed", "epochs", next(results), "1: dense"))
    assert [ended_of(trial).rounds for trial in made.trials()] == ["1: dense"] * 2
    assert ended[0].state == "completed"
    assert (ended[1].state, ended[1].reason) == ("infeasible", "not accuracy >= 0.75, not loss <= 0.5")
    assert [(t.state.name, t.values) for t in made.trials()] == [("COMPLETE", [0.75, 1000]), ("COMPLETE", [0.5, 1000])]
    found = read(layout, spec)
    assert [r.state for r in found.records] == ["completed", "infeasible"]
    assert [r.number for r in found.completed] == [0]


def test_a_trial_that_was_stopped_before_its_first_report_was_stopped(tmp_path):
    made, ended, *_ = source(tmp_path, trials=1)
    drain(made, lambda job: Ended("stopped", "why", None))
    assert (ended[0].state, made.trials()[0].state.name) == ("stopped", "PRUNED")


def test_a_trial_that_someone_else_failed_is_read_as_failed(tmp_path):
    made, _, layout, spec = source(tmp_path)
    job = made.next()
    (running,) = read(layout, spec).records
    assert (running.state, running.config, running.params) == ("running", job.config, made.trials()[0].params)
    made.study.tell(0, state=optuna.trial.TrialState.FAIL)
    assert read(layout, spec).records[0].state == "failed"


# The study


def test_objectives_keep_their_directions_and_names(tmp_path):
    layout = Layout(tmp_path, "s")
    layout.folder.mkdir()
    study = open_study(layout, open_storage(layout, None), {"params": "minimize", "accuracy": "maximize"})
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert study.metric_names == ["params", "accuracy"]


def test_results_behind_the_horizon_are_not_there(tmp_path):
    made, _, layout, spec = source(tmp_path, text=SMALL + 'constraints: {accuracy: ">= 0.5"}\n', trials=3)
    drain(made)
    storage = History(made.storage, 1)
    seen = storage.get_all_trials(made.study._study_id)
    assert [trial.state.name for trial in seen] == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert seen[2].values is None and seen[2].params == made.trials()[2].params
    kept = [any(key.startswith("constraints") for key in trial.system_attrs) for trial in seen]
    assert kept == [True, True, False]
    assert storage.get_trial(seen[2]._trial_id).state.name == "RUNNING"
    running = storage.get_all_trials(made.study._study_id, states=(optuna.trial.TrialState.RUNNING,))
    assert [trial.number for trial in running] == [2]


# Samplers


def test_domains_reach_the_study_as_they_are_written(tmp_path):
    text = DENSE.replace("batch_size: 50", "batch_size: {low: 16, high: 64, step: 16}")
    text = text.replace("epochs: 5", "epochs: {low: 1, high: 100, log: true}")
    text = text.replace("recipe: dense", "recipe: {preset: magnitude, floor: {low: 0.0, high: 0.5, step: 0.25}}")
    made, *_ = source(tmp_path, text=text)
    made.next()
    known = {name.split("@")[0]: domain for name, domain in made.trials()[0].distributions.items()}
    assert known == {
        "training.batch_size": optuna.distributions.IntDistribution(16, 64, step=16),
        "training.epochs": optuna.distributions.IntDistribution(1, 100, log=True),
        "training.optimizer.lr": optuna.distributions.FloatDistribution(0.02, 0.2, log=True),
        "recipe.floor": optuna.distributions.FloatDistribution(0.0, 0.5, step=0.25),
    }


def test_draws_differ_from_trial_to_trial_and_from_seed_to_seed(tmp_path):
    def drawn(name, seed):
        return rates(drain(source(tmp_path, name=name, sampler="random", seed=seed)[0]))

    first, again, other = drawn("a", 0), drawn("b", 0), drawn("c", 1)
    assert first == again
    assert len({*first, *other}) == 12


def test_quasi_random_points_are_one_sequence(tmp_path):
    """After the first trial, which tells Optuna the space, eight points lie in the eight eighths of the range."""
    made, *_ = source(tmp_path, text=DENSE.replace(", log: true", ""), sampler="qmc", trials=9)
    eighths = [int((rate - 0.02) / 0.18 * 8) for rate in rates(drain(made))[1:]]
    assert sorted(eighths) == list(range(8))


def test_tpe_follows_results_after_ten_trials(tmp_path):
    def drawn(name, sign):
        made, *_ = source(tmp_path, text=DENSE, name=name, trials=14)
        lr = lambda job: job.config["training"]["optimizer"]["lr"]
        return rates(drain(made, lambda job: Ended("completed", "epochs", report(0.5 + sign * lr(job)))))

    high, low = drawn("high", 1), drawn("low", -1)
    assert high[:10] == low[:10]
    assert all(a != b for a, b in zip(high[10:], low[10:], strict=True))


# What Tune passes on


class Spy:
    """A source of given jobs; notes what comes back."""

    def __init__(self, *jobs):
        self.jobs, self.told = list(jobs), []

    def next(self):
        return self.jobs.pop(0)

    def judge(self, job, seen):
        return "behind" if seen.epoch == 7 else None

    def report(self, job, seen):
        self.told.append((job.number, seen.epoch))

    def end(self, job, ended):
        self.told.append((job.number, ended.state, ended.reason, ended.report and ended.report.epoch, ended.rounds))


def result(epoch, state="running", reason=""):
    text = json.dumps(report(epoch=epoch).metrics())
    return {"report": text, "state": state, "reason": reason, "rounds": "1: dense"}


def test_results_go_to_the_job_they_are_of(tmp_path):
    jobs = [Job(number, {"seed": number}, tmp_path / str(number), f"#{number}") for number in (4, 5, 6, 7)]
    spy = Spy(jobs[0], Wait(), *jobs[1:], NoMore())
    asking = Adapter(spy, lambda: False, {"cpus": 1}, lambda config: {**config, "prepared": True})
    first = asking.suggest("a")
    assert first == {
        "cpus": 1, "number": 4, "folder": str(tmp_path / "4"), "remote": None, "config": {"seed": 4, "prepared": True}
    }  # fmt: skip
    assert asking.suggest("b") is None
    for name in "bcd":
        asking.suggest(name)
    assert asking.suggest("e") == Adapter.FINISHED
    asking.on_trial_result("b", result(1))
    asking.on_trial_result("a", result(1))
    asking.on_trial_complete("a", result(2, "completed", "epochs"))
    asking.on_trial_complete("b", result(3), error=True)
    asking.on_trial_complete("c", {"report": None, "state": "failed", "reason": "nan_loss", "rounds": ""})
    asking.on_trial_complete("d", result(1))  # cut off while it ran: it has not ended
    asking.on_trial_complete("a", result(2, "completed", "epochs"))
    assert spy.told == [
        (5, 1), (4, 1), (4, 2), (4, "completed", "epochs", 2, "1: dense"), (5, "failed", "worker_died", 3, ""),
        (6, "failed", "nan_loss", None, ""),
    ]  # fmt: skip


def test_a_trial_that_the_source_stops_ends_as_stopped(tmp_path):
    spy = Spy(Job(4, {}, tmp_path, "#4"), Job(5, {}, tmp_path, "#5"))
    asking = Adapter(spy, lambda: False, {}, dict)
    scheduler = Scheduler(asking)
    trials = {name: SimpleNamespace(trial_id=name) for name in "ab"}
    for name in "ab":
        asking.suggest(name)
    assert scheduler.on_trial_result(None, trials["a"], result(6)) == "CONTINUE"
    assert scheduler.on_trial_result(None, trials["b"], result(7)) == "STOP"
    asking.on_trial_complete("b", result(7))
    asking.on_trial_complete("a", result(6))  # cut off with the search: it has not ended
    assert spy.told == [(5, 7), (5, "stopped", "behind", 7, "1: dense")]


def test_the_next_trial_to_run_is_one_that_waits():
    trials = [SimpleNamespace(status=status) for status in ("RUNNING", "PAUSED", "PENDING")]
    controller = SimpleNamespace(get_live_trials=lambda: trials)
    scheduler = Scheduler(Adapter(Spy(), lambda: False, {}, dict))
    assert scheduler.choose_trial_to_run(controller) is trials[2]
    controller.get_live_trials = lambda: trials[:1]
    assert scheduler.choose_trial_to_run(controller) is None


def test_nothing_is_handed_out_once_the_search_shall_stop(tmp_path):
    spy = Spy(Job(0, {}, tmp_path, "#0"))
    assert Adapter(spy, lambda: True, {}, dict).suggest("a") == Adapter.FINISHED
    assert len(spy.jobs) == 1


def test_the_seed_moves_a_qmc_sequence_and_repeats_it():
    def values(seed):
        study = optuna.create_study(sampler=sampler("qmc", seed, 0))
        found = []
        for _ in range(5):
            trial = study.ask()
            found.append(trial.suggest_float("x", 0.0, 1.0))
            study.tell(trial, 0.0)
        return found[1:]  # the first is independent

    assert values(0) == values(0)
    assert values(0) != values(1)
