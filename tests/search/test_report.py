"""The report: what it proposes, what its figures show, and a page that needs nobody."""

import base64
import gzip
import json
import re
import subprocess
import sys

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial
from search.fakes import LAYERS, Cluster, report
from search.small_spaces import SMALL, write
from search.test_results_details import FOUND, TWO, record

from prune_search import load_spec
from prune_search.errors import UserError
from prune_search.search import layers
from prune_search.search.confirm import Confirmed
from prune_search.search.driver import Search
from prune_search.search.report import figures
from prune_search.search.report.advice import advise, caveats
from prune_search.search.report.importance import FEWEST, importances
from prune_search.search.report.page import _cell, _rows, write_report
from prune_search.search.results import Found, Record
from prune_search.search.storage import open_storage
from prune_search.training.files import write_reports


def unpacked(page, name):
    (packed,) = re.findall(rf'id="{name}">([^<]*)<', page)
    return gzip.decompress(base64.b64decode(packed)).decode()


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """A search that has ended, without training anything: accuracy falls and the network shrinks from trial to trial."""
    cluster = Cluster(monkeypatch, lambda job: report(0.95 - job.number / 100, 10_000 // (job.number + 1)))
    cluster.before_end = lambda job, options: write_reports(job.folder, [cluster.result(job)])
    search = Search(write(tmp_path, trials=12), runs=tmp_path / "runs", name="s")
    search.run()
    return search


# What to export


def test_each_need_has_its_trial_and_a_command_that_exports_it():
    dense = record(0, 0.97, 1000, recipe="dense", reason="no_event")
    answers = advise(Found(TWO, (dense, record(1, 0.965, 700), record(2, 0.7, 10), record(3, 0.98, 900))))
    assert {(answer.record.number, answer.options): answer.needs for answer in answers} == {
        (1, ""): (
            "the best trade-off (the knee of the front)",
            "the smallest within one point of the dense control",
            "the fastest on dense kernels within one point of the dense control",
        ),
        (3, '--where "accuracy >= 0.97" --minimize params'): (
            "the smallest that is as accurate as the dense control",
            "the most accurate",
        ),
    }


def test_a_bar_is_rounded_down_so_that_its_own_trial_passes():
    found = Found(
        TWO, (record(0, 0.98765, 100, recipe="dense", reason="no_event"), record(1, 0.97766, 10), record(2, 0.5, 1))
    )
    options = [answer.options for answer in advise(found)]
    assert '--where "accuracy >= 0.9876" --minimize params' in options
    assert [
        answer.record.number for answer in advise(found) if any("smallest within" in need for need in answer.needs)
    ] == [1]


def test_without_a_control_the_most_accurate_trial_is_the_bar_and_nobody_is_proposed_before_a_front():
    found = Found(TWO, (record(1, 0.9, 10), record(2, 0.95, 100)))
    assert any("as accurate as the most accurate trial" in need for each in advise(found) for need in each.needs)
    assert any("No dense control" in line for line in caveats(found, "s", 0))
    assert advise(Found(TWO, FOUND.records[-2:])) == []


def test_what_the_figures_are_worth_is_said():
    tried, gap, seeds = caveats(FOUND, "s", 0)
    assert tried.startswith("10 configurations were tried, 7 of them trained to their end; the 3 on the front")
    assert "on average -25.00 points" in gap and "prune-search confirm s --seeds 5" in seeds
    assert "3 configurations were trained again" in caveats(FOUND, "s", 3)[2]
    assert "when the search has ended" in caveats(Found(TWO, FOUND.records[1:2]), "s", 0)[1]


def test_the_table_marks_the_knee_and_writes_figures_short():
    rows = _rows(Found(TWO, (record(1, 0.9, 10), record(2, 0.95, 20), record(3, 0.951, 90))))["rows"]
    assert [(row["number"], row["knee"]) for row in rows if row["knee"]] == [(2, True)] and len(rows) == 3
    cells = [("accuracy", 0.91234), ("params", 12345), ("params_reduction", 3.14), ("loss", 0.12345), ("loss", 12345.6)]
    assert [_cell(*each) for each in cells] == ["91.23 %", "12,345", "3.1x", "0.123", "12,346"]
    assert _cell("loss", None) == ""


# Importance


def trials(count, accuracy):
    distributions = {"rate": FloatDistribution(0.0, 1.0), "word": CategoricalDistribution(["a", "b"])}
    for i in range(count):
        params = {"rate": (i * 37 % count) / count, "word": "ab"[i % 2]}
        metrics = {"accuracy": accuracy(params), "params": 100.0}
        yield create_trial(params=params, distributions=distributions, value=0.0), metrics


def test_the_parameter_that_decides_an_objective_is_the_important_one():
    found = importances(list(trials(60, lambda params: params["rate"])), TWO)
    assert set(found) == {"accuracy"}  # nothing decides what is the same for all
    assert found["accuracy"]["rate"] > 0.9 and sum(found["accuracy"].values()) == pytest.approx(1)
    turned = importances(list(trials(60, lambda params: params["word"] == "a")), {"accuracy": "minimize"})
    assert turned["accuracy"]["word"] > 0.9


def test_the_best_are_those_of_the_objectives_direction():
    high_by_rate_low_by_word = lambda params: params["rate"] if params["rate"] > 0.5 else 0.1 * (params["word"] == "a")
    rows = list(trials(60, high_by_rate_low_by_word))
    best, worst = (importances(rows, {"accuracy": way})["accuracy"] for way in ("maximize", "minimize"))
    assert best["rate"] > 0.8 and worst["rate"] < best["rate"] and worst["word"] > 2 * best["word"]


def test_a_trial_without_a_value_takes_none_of_the_others_along():
    rows = [(trial, {**metrics, "loss": 1.0}) for trial, metrics in trials(60, lambda params: params["rate"])]
    rows[0][1]["accuracy"] = float("nan")
    assert importances(rows, {"loss": "minimize", "accuracy": "maximize"})["accuracy"]["rate"] > 0.9


def test_few_trials_say_nothing_and_what_is_not_finite_does_not_count():
    assert importances(list(trials(FEWEST - 1, lambda params: params["rate"])), TWO) == {}
    assert importances(list(trials(FEWEST, lambda params: params["rate"])), TWO) != {}
    assert (
        importances(list(trials(12, lambda params: params["rate"] if params["word"] == "a" else float("nan"))), TWO)
        == {}
    )


@pytest.mark.filterwarnings("error")
def test_a_parameter_that_one_trial_had_says_nothing_on_the_screen():
    *rows, (_, metrics) = trials(20, lambda params: params["rate"])
    lone = create_trial(params={"rare": 1.0}, distributions={"rare": FloatDistribution(0.0, 2.0)}, value=0.0)
    assert importances([*rows, (lone, metrics)], TWO)["accuracy"]["rate"] > 0.5


# Figures


def test_history_goes_by_the_time_at_which_trials_ended():
    more = {"params_reduction": 10.0}
    rows = [record(0, 0.5, 100, **more), record(1, 0.25, 100, **more), Record(2, "running", "", None, {}, {})]
    times = [(1000.0, 1072.0), (1000.0, 1036.0), (1000.0, None)]
    found = Found(
        TWO, tuple(Record(**{**vars(r), "began": b, "ended": e}) for r, (b, e) in zip(rows, times, strict=True))
    )
    wall, device = figures.history(found).data
    assert list(wall.x) == pytest.approx([0, 36, 72]) and list(wall.y) == pytest.approx([0, 0.25, 0.5])
    assert list(device.x) == pytest.approx([0, 1, 2])
    assert figures.history(Found(TWO, rows[2:])) is None


def test_a_preset_as_it_is_has_a_ring(tmp_path):
    spec = load_spec(write(tmp_path, SMALL))
    rows = [
        ("dyprune", {"recipe.dyprune.schedule.b": 10.0}),
        ("dyprune", {"recipe.dyprune.schedule.b": 11.0}),
        ("dense", {}),
    ]
    records = [
        Record(i, "completed", "epochs", report(0.5 + i / 10, 100 + i), {"recipe": name}, {"recipe": name, **values})
        for i, (name, values) in enumerate(rows)
    ]
    (fig,) = figures.fronts(Found(TWO, tuple(records)), spec).values()
    (rings,) = [trace for trace in fig.data if trace.name == "published presets"]
    assert list(rings.x) == [100]
    assert rings.text[0].startswith("<b>#0 dyprune<br>magnitude, weight, ") and "b 10" in rings.text[0]


def test_three_trials_are_lines_through_what_varies():
    rows = tuple(
        record(number, 0.5 + number / 10, 100, recipe=name) for number, name in enumerate(("imp", "set", "imp"))
    )
    (lines,) = figures.parallel(Found(TWO, rows)).data
    assert [axis.label for axis in lines.dimensions][:2] == ["recipe", "distribution"]
    assert [axis.label for axis in lines.dimensions][-1] == "accuracy"
    assert figures.parallel(Found(TWO, rows[:2])) is None
    assert figures.parallel(Found(TWO, (rows[0],) * 3)) is None


def test_what_one_sees_of_a_trial_when_one_points_at_it():
    values = {
        "recipe": "x",
        "recipe.x.rate": 0.123456,
        "recipe.x.least_width": 8,
        "training.batch": 64,
        "a.b": "word",
        "c.d": 1,
    }
    config = {"recipe": {"preset": "magnitude"}}
    shown = figures.described(Record(3, "completed", "epochs", report(0.9, 10), config, values))
    assert shown.split("<br>") == [
        "#3 x",
        "magnitude, weight, cubic, every",
        "rate 0.1235",
        "least_width 8",
        "batch 64",
        "b word",
    ]
    assert figures.described(Record(4, "running", "", None, {}, {})) == "#4 ?"


# The page


def test_the_page_has_every_section_and_needs_nobody(searched):
    page = searched.layout.folder / "report.html"
    text = page.read_text()
    assert page.stat().st_size < 5e6
    assert not re.search(r"""(src|href)=["'](?!#)""", text) and "http" not in text.split('id="plotly"')[0]
    drawn = json.loads(unpacked(text, "figures"))
    assert set(drawn) == {"front", "history", "shares", "parallel", "curves", "layers", "importance"}
    assert list(drawn["front"]) == ["accuracy by params"]
    assert len(drawn["curves"]["curves"]["data"]) == 2 * 12
    assert drawn["layers"][next(iter(drawn["layers"]))]["data"][0]["y"] == [0.25]
    assert "plotly.js v" in unpacked(text, "plotly")[:300]
    assert text.count("<tr") >= 12 and "prune-search export s" in text and ">50.00 %<" in text
    assert "{low: 0.02, high: 0.2, log: true}" in text
    assert "95.00 % on the validation split, 50.00 % on the test split, 10,000 parameters" in text


def test_names_are_text(searched, monkeypatch):
    monkeypatch.setattr(Record, "recipe", property(lambda self: "<img src=x>"))
    text = write_report(searched.layout, searched.spec).read_text()
    assert "<img" not in text and "&lt;img src=x&gt;" in text


def test_passwords_are_not_in_it(searched):
    with open(searched.layout.space, "a") as file:
        file.write("tracking: {uri: 'http://me:secret@host:5000'}\n")
    text = write_report(searched.layout, searched.spec).read_text()
    assert "@host:5000" in text and "secret" not in text


def test_a_search_of_which_nothing_ended_has_a_page(tmp_path):
    search = Search(write(tmp_path), runs=tmp_path / "runs", name="s")
    optuna.create_study(study_name="s", directions=["maximize", "minimize"], storage=open_storage(search.layout, None))
    text = write_report(search.layout, search.spec).read_text()
    assert "No trial has completed yet." in text and json.loads(unpacked(text, "figures")) == {}


def test_what_was_confirmed_has_means_and_errors(searched):
    again = Confirmed(
        1,
        "m",
        "dyprune",
        ("nan_loss",),
        {"accuracy": (0.5, 0.7), "test_accuracy": (0.4, 0.6), "params": (10, 12), "macs": (5, 5)},
    )
    text = write_report(searched.layout, searched.spec, confirmed=[again]).read_text()
    cells = "<td>1</td><td>dyprune</td><td>2</td><td>1</td><td>60.00 ± 10</td><td>50.00 ± 10</td><td>11 ± 1</td><td>5 ± 0</td>"
    assert cells in text
    marks = json.loads(unpacked(text, "figures"))["front"]["accuracy by params"]["data"]
    assert any(trace["name"] == "confirmed: means over new seeds" for trace in marks)


def test_images_need_kaleido(searched, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(UserError, match=r"--images needs kaleido.*pip install 'prune-search\[images\]'"):
        write_report(searched.layout, searched.spec, images=searched.layout.folder / "images")


def test_layers_are_kept_beside_the_trial(tmp_path):
    assert layers.read_layers(tmp_path / "t") == []
    layers.write_layers(tmp_path / "t", LAYERS)
    assert layers.read_layers(tmp_path / "t") == list(LAYERS)


def test_no_torch_is_needed():
    code = "import sys, prune_search.search.report.page; sys.exit('torch' in sys.modules or 'plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
