"""The figures of a report, in exact numbers."""

import numpy as np
import pytest

from prune_search.pareto import charts


def test_history_is_drawn_over_both_times_in_units_that_one_can_read():
    wall, device = charts.history([0, 0.01, 0.04], [0, 1.0, 3.0], [0, 0.5, 0.75]).data
    assert list(wall.x) == pytest.approx([0, 36, 144]) and list(device.x) == [0, 1.0, 3.0]
    assert list(wall.y) == list(device.y) == [0, 0.5, 0.75] and wall.line.shape == "hv"
    fig = charts.history([0, 1.5], [0, 0.01], [0, 1])
    assert (fig.layout.xaxis.title.text, fig.layout.xaxis2.title.text) == (
        "time (min)",
        "device time of ended trials (s)",
    )


def test_shares_count_parts_of_axes_on_which_trials_differ():
    tried = [{"score": "magnitude", "schedule": s, "removal": "none"} for s in ("cubic", "cubic", "one-shot", "cubic")]
    all_, front = charts.shares(tried, tried[1:3]).data
    assert list(map(list, all_.y)) == [["schedule", "schedule"], ["cubic", "one-shot"]]
    assert (list(all_.x), list(front.x)) == ([0.75, 0.25], [0.5, 0.5])
    assert list(all_.customdata) == [3, 1]
    assert list(charts.shares(tried, []).data[1].x) == [0, 0]
    assert charts.shares([], []).data[0].x == ()


def test_parallel_coordinates_have_decades_for_counts_and_steps_for_words():
    rows = [{"recipe": "b", "lr": 0.1, "params": 100}, {"recipe": "a", "lr": 0.2, "params": 10_000}]
    (lines,) = charts.parallel(rows, "lr").data
    recipe, rate, params = lines.dimensions
    assert (list(recipe.values), list(recipe.ticktext)) == ([1, 0], ["a", "b"])
    assert list(rate.values) == [0.1, 0.2] and list(params.values) == [2, 4]
    assert (params.ticktext[0], params.ticktext[-1]) == ("1e+02", "1e+04")
    assert list(lines.line.color) == [0.1, 0.2]
    (wide,) = charts.parallel([{"p": 1e-4}, {"p": 1.0}], "p").data
    assert list(wide.dimensions[0].values) == [-4, 0]


def test_the_parameter_that_matters_most_for_any_objective_is_on_top():
    first, second = charts.importances({"accuracy": {"a": 0.6, "b": 0.4}, "params": {"c": 0.9, "a": 0.1}}).data
    assert list(first.y) == ["c", "a", "b"]
    assert (list(first.x), list(second.x)) == ([0.0, 0.6, 0.4], [0.9, 0.1, 0.0])


def test_a_trial_has_one_colour_and_one_name_on_both_sides():
    fig = charts.curves([charts.Curve("#1", [1, 2], [0.5, 0.6], [100, 10]), charts.Curve("#2", [1], [0.4], [90])])
    assert [(line.name, line.showlegend, list(line.y)) for line in fig.data] == [
        ("#1", True, [0.5, 0.6]), ("#1", False, [100, 10]), ("#2", True, [0.4]), ("#2", False, [90]),
    ]  # fmt: skip
    assert fig.data[0].line.color == fig.data[1].line.color != fig.data[2].line.color
    assert fig.layout.yaxis2.type == "log" and len(charts.curves([]).data) == 0


def test_what_is_left_of_each_layer_is_a_share_of_the_dense_one():
    weights, macs = charts.layers([charts.Layer("conv", 200, 50, 1000, 100), charts.Layer("gone", 0, 0, 0, 0)]).data
    assert (list(weights.x), list(weights.y), list(macs.y)) == (["conv", "gone"], [0.25, None], [0.1, None])
    assert np.array_equal(weights.customdata, [[50, 200], [0, 0]])
