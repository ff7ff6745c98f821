import subprocess
import sys

import pytest

from prune_search.errors import UserError
from prune_search.pareto import figure, front
from prune_search.pareto.plots import pairs

OBJECTIVES = {"params": "minimize", "accuracy": "maximize"}
POINTS = [
    {"accuracy": 0.9, "params": 100, "flops": 9},
    {"accuracy": 0.8, "params": 10, "flops": 8},
    {"accuracy": 0.7, "params": 50, "flops": 1},
    {"accuracy": float("nan"), "params": 50, "flops": 1},
]


def test_accuracy_is_y_and_counts_are_logarithmic():
    fig = figure(POINTS, OBJECTIVES, front(POINTS, OBJECTIVES), {"accuracy": 0.95, "params": 1000})
    quiet, line, best, dense = fig.data
    assert (list(quiet.x), list(quiet.y)) == ([50], [0.7])
    assert (list(line.x), list(line.y)) == ([10, 100], [0.8, 0.9])
    assert list(best.y) == [0.9, 0.8]
    assert (dense.x[0], dense.y[0]) == (1000, 0.95)
    assert (fig.layout.xaxis.type, fig.layout.yaxis.type) == ("log", "linear")
    assert best.text[1] == "<b>trial 1</b><br>params 10<br>accuracy 0.8"


def test_third_objective_is_colour_and_the_line_stays_monotone():
    objectives = {**OBJECTIVES, "flops": "minimize"}
    fig = figure(POINTS, objectives, front(POINTS, objectives), names=["a", "b", "c", "d"])
    assert list(fig.data[2].marker.color) == [9, 8, 1]
    assert list(fig.data[1].x) == [10, 100]
    assert fig.data[2].text[2].startswith("<b>c</b>")


def test_what_was_trained_again_stands_beside_with_its_errors():
    again = [("b", {"params": 11, "accuracy": 0.78}, {"params": 1, "accuracy": float("nan")})]
    *_, marks = figure(POINTS, OBJECTIVES, [0, 1], confirmed=again).data
    assert (marks.name, list(marks.x), list(marks.y)) == ("confirmed: means over new seeds", [11], [0.78])
    assert list(marks.error_x.array) == [1]
    assert marks.text[0] == "<b>b, new seeds</b><br>params 11<br>accuracy 0.78"


def test_html_is_self_contained(tmp_path):
    figure(POINTS, OBJECTIVES, [0, 1]).write_html(tmp_path / "front.html", include_plotlyjs=True)
    html = (tmp_path / "front.html").read_text()
    assert '<script src="http' not in html and len(html) > 1_000_000


def test_one_objective_has_no_plot():
    with pytest.raises(UserError, match="two objectives"):
        figure(POINTS, {"accuracy": "maximize"}, [0])


def test_empty():
    assert len(figure([], OBJECTIVES, []).data) == 3


def test_plotly_and_torch_are_not_loaded():
    code = "import sys, prune_search.pareto; sys.exit('plotly' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_pairs_begin_with_what_people_look_at_first():
    assert pairs({"params": "minimize", "accuracy": "maximize", "flops": "minimize"}) == [
        ("params", "accuracy"), ("flops", "accuracy"), ("params", "flops"),
    ]  # fmt: skip
    assert pairs({"params": "minimize", "loss": "minimize"}) == [("loss", "params")]


def test_any_two_objectives_can_be_the_axes():
    objectives = {**OBJECTIVES, "flops": "minimize"}
    fig = figure(POINTS, objectives, [0, 1, 2], axes=("params", "flops"))
    assert (list(fig.data[2].x), list(fig.data[2].y)) == ([100, 10, 50], [9, 8, 1])
    assert list(fig.data[2].marker.color) == [0.9, 0.8, 0.7]
    assert list(fig.data[1].x) == [10, 50]


def test_published_presets_have_a_ring_and_who_did_not_complete_is_named():
    stopped = {"stopped": [("#9 x", {"accuracy": 0.5, "params": 70}), ("#8 y", {"accuracy": None, "params": 7})]}
    *_, rings, quiet = figure(POINTS, OBJECTIVES, [0, 1], presets=[1, 3], unfinished=stopped).data
    assert (rings.name, list(rings.x)) == ("published presets", [10])
    assert (quiet.name, list(quiet.x), list(quiet.text)) == (
        "stopped", [70], ["<b>#9 x, stopped</b><br>params 70<br>accuracy 0.5"],
    )  # fmt: skip
