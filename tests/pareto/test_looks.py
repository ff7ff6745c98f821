"""Every figure as it was when somebody last looked at it: sizes, margins, colours, ticks, what one reads when pointing.

``looks.txt`` holds one figure a line. Who changes how one looks, looks at it and writes that file anew:
``PYTHONPATH=. python tests/pareto/test_looks.py``.
"""

import json
from pathlib import Path

from prune_search.pareto import charts, figure, front
from prune_search.pareto.charts import Curve, Layer

FILE = Path(__file__).with_name("looks.txt")
OBJECTIVES = {"params": "minimize", "accuracy": "maximize", "flops": "minimize"}
POINTS = [
    {"accuracy": 0.9, "params": 100, "flops": 9},
    {"accuracy": 0.8, "params": 10, "flops": 8},
    {"accuracy": 0.7, "params": 50, "flops": 20},
]
TRIED = [{"score": "magnitude", "schedule": schedule} for schedule in ("cubic", "cubic", "one-shot")]
ROWS = [{"recipe": "b", "lr": 0.1, "params": 100}, {"recipe": "a", "lr": 0.2, "params": 10_000}]


def looks() -> dict:
    figures = {
        "front": figure(
            POINTS,
            OBJECTIVES,
            front(POINTS, OBJECTIVES),
            {"accuracy": 0.95, "params": 1000, "flops": 30},
            confirmed=[("b", {"params": 11, "accuracy": 0.78}, {"params": 1, "accuracy": 0.01})],
            presets=[1],
            unfinished={"stopped": [("#9", {"accuracy": 0.5, "params": 70})]},
        ),
        "front, losses": figure(POINTS, {"params": "minimize", "loss": "minimize"}, []),
        "history": charts.history([0, 0.01, 0.04], [0, 1.0, 3.0], [0, 0.5, 0.75]),
        "shares": charts.shares(TRIED, TRIED[1:]),
        "parallel": charts.parallel(ROWS, "lr"),
        "importances": charts.importances({"accuracy": {"a": 0.6, "b": 0.4}, "params": {"c": 0.9, "a": 0.1}}),
        "curves": charts.curves([Curve("#1", [1, 2], [0.5, 0.6], [100, 10]), Curve("#2", [1], [0.4], [90])]),
        "layers": charts.layers([Layer("conv", 200, 50, 1000, 100), Layer("gone", 0, 0, 0, 0)]),
    }
    for fig in figures.values():
        fig.layout.template = None
    return {name: json.loads(fig.to_json(engine="json")) for name, fig in figures.items()}


def test_every_figure_looks_as_it_did():
    then = dict(map(json.loads, FILE.read_text().splitlines()))
    now = looks()
    assert then.keys() == now.keys()
    for name in then:
        assert now[name] == then[name], name


def test_the_fronts_values_are_in_view_with_room_on_their_worse_side():
    for direction, worse in (("maximize", 0), ("minimize", 1)):
        objectives = {"params": "minimize", "loss": direction}
        points = [{"params": params, "loss": loss} for params, loss in ((1, 0.5), (10, 0.6), (100, 0.9))]
        low, high = figure(points, objectives, [0, 1, 2], axes=("params", "loss")).layout.yaxis.range
        room = (0.5 - low, high - 0.9)
        assert room[worse] > room[1 - worse] > 0


if __name__ == "__main__":
    FILE.write_text("\n".join(json.dumps(pair) for pair in looks().items()) + "\n")
