"""Recorded trials and searches on them: tables, answers to what was not recorded, the clock, comparisons."""

import dataclasses
import json
import math
import random
import statistics
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from search.fakes import report
from search.small_spaces import SMALL, write

from prune_search.errors import UserError
from prune_search.search.layout import Layout
from prune_search.search.results import Found, Record
from prune_search.search.simulation import clock
from prune_search.search.simulation.clock import Trace, simulate
from prune_search.search.simulation.compare import Comparison, Strategy, compare, figure
from prune_search.search.simulation.surrogate import Surrogate, _targets
from prune_search.search.simulation.table import META, Entry, Table, load, record
from prune_search.search.simulation.table import write as write_table
from prune_search.spec import load_spec
from prune_search.spec.settings import Moasha, NoStopping, ResourcesConfig
from prune_search.training.files import write_reports

SPACES = Path(__file__).parents[2] / "search_spaces"
EPOCHS = 5
REFERENCE = {"accuracy": 0.0, "params": 1e5}


def entry(params, accuracy, count, seconds=1.0, state="completed"):
    """A trial that is as accurate as it will be times the share of its epochs; ``seconds`` an epoch."""
    reports = [
        report(accuracy * epoch / EPOCHS, count, epoch=epoch, seconds=seconds * epoch, device_seconds=seconds * epoch)
        for epoch in range(1, EPOCHS + 1)
    ]
    return Entry(params, state, "epochs", tuple(reports))


def some(spec, count=60):
    """Random configurations of SMALL: the more is pruned, the smaller and the less accurate; half of it is noise."""
    draw, entries = random.Random(0), []
    for _ in range(count):
        params = {
            "training.optimizer.lr": draw.uniform(0.02, 0.2),
            "recipe": draw.choice(["magnitude", "dyprune", "dense"]),
        }
        if params["recipe"] == "magnitude":
            params["recipe.magnitude.schedule.final_sparsity"] = draw.uniform(0.5, 0.95)
        if params["recipe"] == "dyprune":
            params["recipe.dyprune.schedule.b"] = draw.uniform(7.0, 20.0)
        size = draw.uniform(2.0, 5.0)
        entries.append(
            entry(params, min(1.0, size / 5 * draw.uniform(0.5, 1.0)), round(10**size), draw.uniform(0.5, 2.0))
        )
    return tuple(entries)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return load_spec(write(tmp_path_factory.mktemp("space"), defaults_first="false"))


@pytest.fixture(scope="module")
def table(spec):
    return Table(spec, some(spec), REFERENCE, {})


class Watched(Surrogate):
    """Keeps what it answered."""

    def __init__(self, table):
        super().__init__(table)
        self.given = []

    def answer(self, params):
        self.given.append(super().answer(params))
        return self.given[-1]


@pytest.fixture
def watched(table):
    return Watched(table)


# Tables


def test_a_table_reads_back_equal(tmp_path, table):
    rows = [(number, each) for number, entry in enumerate(table.entries) for each in entry.reports]
    trials = [
        {"trial": number, "params": entry.params, "state": entry.state, "reason": entry.reason}
        for number, entry in enumerate(table.entries)
    ]
    meta = {"space": table.spec.to_yaml(), "reference": REFERENCE, "origin": {"python": "3"}, "trials": trials}
    write_table(tmp_path / "t.parquet", rows, meta)
    again = load(tmp_path / "t.parquet")
    assert again.entries == table.entries
    assert (again.reference, again.origin) == (REFERENCE, {"python": "3"})
    assert again.spec.parameters() == table.spec.parameters()


def test_a_recorded_table_tells_no_passwords(tmp_path):
    path = write(tmp_path, SMALL + 'tracking: {uri: "postgresql://me:word@db/runs"}\n', trials=1)
    layout = Layout(tmp_path, "s")
    layout.trial(0).mkdir(parents=True)
    write_reports(layout.trial(0), [report(0.9, 100)])
    layout.origin.write_text(json.dumps({"versions": {"python": "3"}, "platform": "Linux"}))
    trial = Record(0, "completed", "", report(0.9, 100), {}, {"training.optimizer.lr": 0.1})
    file = record(layout, load_spec(path), Found({"accuracy": "maximize", "params": "minimize"}, (trial,)))
    assert b"word" not in pq.read_schema(file).metadata[META] and b"***@db/runs" in pq.read_schema(file).metadata[META]
    assert load(file).entries[0].params == trial.params


def test_a_file_that_is_no_table(tmp_path, table):
    (tmp_path / "t.parquet").write_text("no")
    with pytest.raises(UserError, match="is no table of recorded trials"):
        load(tmp_path / "t.parquet")
    trial = {"trial": 0, "params": {}, "state": "completed", "reason": ""}
    for reference, trials in (
        ({"accuracy": 0.1}, [trial]),
        (REFERENCE, []),
        (REFERENCE, [{**trial, "state": "odd"}]),
        (REFERENCE, [{**trial, "trial": "0"}]),
    ):
        meta = {"space": table.spec.to_yaml(), "reference": reference, "origin": {}, "trials": trials}
        write_table(tmp_path / "t.parquet", [(0, table.entries[0].reports[0])], meta)
        with pytest.raises(UserError, match="is no table of recorded trials"):
            load(tmp_path / "t.parquet")


def test_constraints_can_be_set_and_what_was_recorded_cannot():
    path = SPACES / "recombination_mnist.parquet"
    table = load(path, ["constraints={accuracy: '>= 0.9'}", "search.trials=7"])
    assert [str(each) for each in table.spec.constraints] == ["accuracy >= 0.9"] and table.spec.search.trials == 7
    for change in ("training.epochs=3", "objectives={accuracy: maximize}"):
        with pytest.raises(UserError, match="recorded. Set only constraints"):
            load(path, [change])


def test_seconds_of_an_epoch_are_differences(table):
    made = entry({}, 0.9, 10, seconds=2.0)
    assert made.seconds == (2.0,) * EPOCHS
    assert Table(table.spec, (made, entry({}, 0.9, 10, 4.0)), REFERENCE, {}).full_seconds == 15.0


def test_recorded_trials_are_not_looked_for_where_the_search_kept_its_own(table):
    stored = dataclasses.replace(table.spec, resources=ResourcesConfig(storage="/nowhere"))
    moved = Table(stored, table.entries, table.reference, table.origin)
    traces = [simulate(t, Surrogate(t), "random", NoStopping(), workers=2, trials=20, seed=0) for t in (table, moved)]
    assert traces[0].final == traces[1].final > 0


def test_another_reference_point(table):
    strict = table.measured_from(["accuracy=0.6"])
    assert strict.reference == {"accuracy": 0.6, "params": 1e5} and table.reference["accuracy"] == 0.0
    traces = [simulate(t, Surrogate(t), "random", NoStopping(), workers=2, trials=60, seed=0) for t in (table, strict)]
    assert traces[0].final > traces[1].final > 0
    for text, message in (("accuracy", "Write a number"), ("acuracy=0.5", "Did you mean 'accuracy'")):
        with pytest.raises(UserError, match=message):
            table.measured_from([text])


# Answers to what was not recorded

LR, SIZE, B = "training.optimizer.lr", "recipe.magnitude.schedule.final_sparsity", "recipe.dyprune.schedule.b"


def test_a_configuration_as_numbers(watched):
    middle = math.sqrt(0.02 * 0.2)  # of a logarithmic range
    assert watched.encode({LR: middle, "recipe": "magnitude", SIZE: 0.95}).tolist() == pytest.approx(
        [0.5, 1, 0, 0, 1, -1]
    )
    assert watched.encode({LR: 0.02, "recipe": "dense"}).tolist() == pytest.approx([0, 0, 0, 1, -1, -1])


def test_a_recorded_configuration_gets_its_own_trial(table, watched):
    assert all(watched.answer(each.params) is each for each in table.entries)


def test_any_other_gets_the_average_of_those_in_the_same_leaves_counts_in_decades(table, watched):
    params = {LR: 0.1, "recipe": "magnitude", SIZE: 0.8}
    weights = watched.weights(params)
    assert weights.sum() == pytest.approx(1) and 2 < (weights > 0).sum() < 30
    made = watched.answer(params)
    assert (made.params, made.state, len(made.reports)) == (params, "completed", EPOCHS)
    for epoch, seen in enumerate(made.reports):
        recorded = [each.reports[epoch] for each in table.entries]
        assert seen.accuracy == pytest.approx(weights @ [r.accuracy for r in recorded])
        assert seen.params == round(10 ** (weights @ np.log10([r.params for r in recorded])))
        assert seen.seconds == pytest.approx(weights @ [r.seconds for r in recorded])
        assert (seen.epoch, seen.test_accuracy) == (epoch + 1, None)


def test_what_was_measured_beside_is_averaged_too(spec):
    entries = [
        Entry(each.params, "completed", "epochs", tuple(dataclasses.replace(r, latency_ms=0.25) for r in each.reports))
        for each in some(spec)
    ]
    answered = Surrogate(Table(spec, tuple(entries), REFERENCE, {})).answer({LR: 0.1, "recipe": "magnitude", SIZE: 0.8})
    assert [seen.latency_ms for seen in answered.reports] == pytest.approx([0.25] * EPOCHS)


def test_a_trial_that_ended_early_counts_as_it_stood_then(spec):
    whole, cut = some(spec, 2)
    accurate = lambda entry, values: tuple(dataclasses.replace(r, accuracy=v) for r, v in zip(entry.reports, values))
    entries = (
        Entry(whole.params, "completed", "epochs", accurate(whole, [0.5] * EPOCHS)),
        Entry(cut.params, "stopped", "place 2 of 2", accurate(cut, [0.6, 0.4])),
    )
    ends = [("completed", EPOCHS), ("stopped", 2)]
    accuracy = _targets(Table(spec, entries, REFERENCE, {}), ends)[:, : 2 * EPOCHS : 2]  # losses: less is more accurate
    assert np.allclose(accuracy, [[1, -1, -1, -1, -1], [-1, 1, 1, 1, 1]])  # in units of the spread


def test_two_trials_of_one_configuration_weigh_alike(table):
    first = table.entries[0]
    twin = Entry(first.params, "completed", "epochs", tuple(reversed(first.reports)))
    surrogate = Surrogate(Table(table.spec, (*table.entries, twin), REFERENCE, {}))
    weights = surrogate.weights(first.params)
    assert weights[[0, -1]].tolist() == pytest.approx([0.5, 0.5]) and weights.sum() == pytest.approx(1)


def test_what_does_not_matter_is_not_what_a_neighbour_is(spec):
    draw = random.Random(1)

    def trial(size):
        return entry({LR: draw.uniform(0.02, 0.2), "recipe": "magnitude", SIZE: size}, 0.9, round(10 ** (6 - 4 * size)))

    surrogate = Surrogate(Table(spec, tuple(trial(draw.uniform(0.5, 0.95)) for _ in range(150)), REFERENCE, {}))
    asked = [trial(draw.uniform(0.55, 0.9)) for _ in range(50)]
    away = [math.log10(surrogate.answer(a.params).reports[-1].params / a.reports[-1].params) for a in asked]
    assert statistics.median(map(abs, away)) < 0.03  # of 1.8 decades; the nearest by distance is 0.3 away


def test_a_trial_ends_as_most_of_its_weight_did(spec):
    entries = []
    for each in some(spec, 100):
        bad = each.params[LR] > 0.1
        entries.append(Entry(each.params, "failed", "nan_loss", each.reports[:2]) if bad else each)
    none = Entry({LR: 0.199, "recipe": "dense"}, "failed", "out_of_memory", ())
    surrogate = Surrogate(Table(spec, (*entries, none), REFERENCE, {}))
    good, bad = (surrogate.answer({LR: lr, "recipe": "dyprune", B: 10.0}) for lr in (0.05, 0.15))
    assert (good.state, len(good.reports)) == ("completed", EPOCHS)
    assert (bad.state, bad.reason, len(bad.reports)) == ("failed", "nan_loss", 2)
    assert surrogate.answer(none.params) is none
    mixed = []
    for lr in np.linspace(0.08, 0.12, 20):
        params = {LR: lr, "recipe": "dyprune", B: 10.0}
        share = surrogate.weights(params) @ [each.state == "completed" for each in (*entries, none)]
        mixed += [share] if 0.1 < share < 0.9 else []
        if abs(share - 0.5) > 0.1:
            assert (surrogate.answer(params).state == "completed") == (share > 0.5)
    assert mixed


# The clock


def test_one_machine_trains_one_trial_after_the_other(monkeypatch, table, watched):
    monkeypatch.setattr(clock, "STRAGGLERS", 0.0)
    trace = simulate(table, watched, "random", NoStopping(), workers=1, trials=30, seed=0)
    ends = np.cumsum([sum(each.seconds) for each in watched.given])
    assert trace.counts == {"completed": len(ends) - 1} and ends[-2] <= 30 * table.full_seconds < ends[-1]
    for when, _ in trace.gains[1:]:
        assert np.abs(ends - when).min() < 1e-9
    assert trace.gains[1][0] == pytest.approx(ends[0])


def test_a_slow_machine_takes_three_times_as_long(monkeypatch, table, watched):
    monkeypatch.setattr(clock, "STRAGGLERS", 1.0)
    trace = simulate(table, watched, "random", NoStopping(), workers=1, trials=30, seed=0)
    assert trace.gains[1][0] == pytest.approx(3 * sum(watched.given[0].seconds))


def test_device_time_counts_every_machine_and_what_is_in_flight_does_not_count(monkeypatch, table, watched):
    monkeypatch.setattr(clock, "STRAGGLERS", 0.0)
    trace = simulate(table, watched, "random", NoStopping(), workers=5, trials=20, seed=0)
    assert 10 <= trace.counts["completed"] <= 20
    assert trace.gains[-1][0] <= 20 * table.full_seconds
    assert trace.gains[1][0] == pytest.approx(5 * min(sum(watched.given[n].seconds) for n in range(5)))


def test_the_same_seed_gives_the_same_search(table):
    traces = [
        simulate(table, Surrogate(table), "tpe", Moasha(name="moasha"), workers=4, trials=20, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert traces[0] == traces[1] != traces[2]
    assert traces[0].counts["stopped"] > 10


def test_failed_trials_cost_time_and_give_nothing(tmp_path, table):
    entries = tuple(Entry(e.params, "failed", "nan_loss", e.reports[:2]) for e in table.entries)
    bad = Table(table.spec, entries, REFERENCE, {})
    trace = simulate(bad, Surrogate(bad), "random", NoStopping(), workers=2, trials=60, seed=0)
    assert set(trace.counts) == {"failed"} and trace.final == 0.0


# Comparisons


def test_strategies_by_name():
    both = Strategy.parse("tpe+moasha")
    assert (both.sampler, both.stopping.name) == ("tpe", "moasha")
    assert Strategy.parse("random").stopping.name == "none"
    for text, word in (
        ("tpee", "Did you mean 'tpe'"),
        ("tpe+mosha", "Did you mean 'moasha'"),
        ("+moasha", "'' is unknown"),
    ):
        with pytest.raises(UserError, match=word.replace("+", r"\+")):
            Strategy.parse(text)


def test_ratios_and_their_test_by_hand(table):
    a = [Trace([(0, 0.0), (10, 1.0), (20, 2.0)]), Trace([(0, 0.0), (10, 0.5)])]
    b = [Trace([(0, 0.0), (40, 1.0)]), Trace([(0, 0.0), (30, 1.0)])]
    made = Comparison(table, 3600.0, 4, {"a": a, "b": b})
    assert made.ratios("a", "b") == [0.25, math.inf]
    plain = json.loads(json.dumps(made.plain()))
    assert plain["device_hours_ratio"] == {"b": None}
    assert plain["strategies"]["a"]["final"] == [2.0, 0.5]
    assert plain["strategies"]["b"]["hypervolume"][0] == 0.0
    assert len(plain["device_hours"]) == len(plain["strategies"]["a"]["hypervolume"]) == 101
    assert plain["wilcoxon_p"]["b"] == 1.0  # one shorter, one longer
    sooner = Comparison(table, 3600.0, 4, {"a": [a[0]] * 6, "b": [b[0]] * 5 + [Trace()]})
    assert sooner.ratios("a", "b") == [0.25] * 5 + [0.0]
    assert sooner.plain()["wilcoxon_p"]["b"] == pytest.approx(2 / 2**6)
    alike = Comparison(table, 3600.0, 4, {"a": [b[0]] * 3, "b": [b[0]] * 3})
    assert alike.plain()["wilcoxon_p"]["b"] == 1.0
    assert len(figure(made).data) == 4


def test_every_strategy_has_every_seed_and_the_same_time(table):
    seen = []
    strategies = [Strategy.parse("random"), Strategy.parse("random+moasha")]
    made = compare(
        table, strategies, workers=4, trials=10, seeds=2, done=lambda name, seed, trace: seen.append((name, seed))
    )
    assert seen == [("random", 0), ("random+moasha", 0), ("random", 1), ("random+moasha", 1)]
    assert made.budget == 10 * table.full_seconds
    assert all(trace.gains[-1][0] <= made.budget for traces in made.traces.values() for trace in traces)


def test_two_processes_find_what_one_does(table):
    strategies = [Strategy.parse("tpe+moasha"), Strategy.parse("random")]
    one, two = (compare(table, strategies, workers=4, trials=10, seeds=2, processes=n) for n in (1, 2))
    assert one.traces == two.traces


# The tables that come with the project


@pytest.mark.parametrize(("name", "epochs"), [("mnist", 8), ("digits", 16)])
def test_shipped_tables_have_whole_trials_of_the_recombination_space(name, epochs):
    table = load(SPACES / f"recombination_{name}.parquet")
    assert table.spec.parameters().keys() == load_spec(SPACES / "recombination.yaml").parameters().keys()
    assert len(table.entries) == 1000 and {entry.state for entry in table.entries} <= {"completed", "failed"}
    whole = sum(len(entry.reports) == epochs for entry in table.entries)
    assert whole > 850  # where accuracy was regained for good, a recipe may end a trial sooner
    assert max(entry.reports[-1].accuracy for entry in table.entries if entry.reports) > 0.96


def test_on_shipped_trials_the_default_finds_what_random_search_finds_in_less_time():
    table = load(SPACES / "recombination_digits.parquet")
    names = ("tpe+moasha-schedule-aware", "random")
    made = compare(table, [Strategy.parse(name) for name in names], workers=8, trials=60, seeds=2)
    assert statistics.median(made.ratios(*names)) < 0.8
