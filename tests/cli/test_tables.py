"""Tables of figures: what they say, and that they fit."""

from dataclasses import replace
from types import SimpleNamespace

from rich.console import Console
from search.test_results_details import record

from prune_search.cli import searching
from prune_search.cli.tables import confirm_table, front_table
from prune_search.search.confirm import Confirmed
from prune_search.search.results import Found

OBJECTIVES = {"accuracy": "maximize", "params": "minimize"}


def item(trial, model, recipe, accuracy, **values):
    figures = {"accuracy": accuracy, "test_accuracy": accuracy, "sparsity": (0.95, 0.95), "params": (13_310, 13_310)}
    figures |= {"train_flops_ratio": (0.25, 0.35), "epoch": (20, 20), "seconds": (1.4, 2.2), **values}
    return Confirmed(trial, model, recipe, (), figures)


def printed(rows, controls, width):
    return lines_of(confirm_table(rows, controls, width, OBJECTIVES), width)


def lines_of(table, width):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    lines = [line for line in capture.get().splitlines() if line.strip()]
    return [line for line in lines if "──" not in line]


def cells(line):
    return line.split()


def test_confirmed_figures_differences_and_costs():
    rows = [item(3, "lenet-5", "imp-lr-rewind", (0.97, 0.99)), item(0, "lenet-5", "dense", (0.99, 0.99))]
    wide = printed(rows, {3: 0, 0: 0}, 120)
    assert cells(wide[1])[-3:] == ["cost", "epochs", "seconds"]
    pruned, dense = (cells(line) for line in wide[2:4])
    assert pruned == "3 imp-lr-rewind 2 98.00±1.00 98.00±1.00 -1.00±1.00 95.00 13,310 0.3 20 2".split()
    assert dense[:6] == ["0", "dense", "2", "99.00±0.00", "99.00±0.00", "95.00"]
    assert cells(printed(rows, {3: 0, 0: 0}, 100)[1])[-3:] == ["cost", "epochs", "seconds"]
    narrow = printed(rows, {3: 0, 0: 0}, 80)
    assert cells(narrow[1])[-2:] == ["sparse", "params"]
    assert cells(narrow[2]) == pruned[:8]
    assert max(map(len, narrow)) <= 80


def test_one_seed_has_no_spread():
    rows = [item(3, "lenet-5", "imp-lr-rewind", (0.97,)), item(0, "lenet-5", "dense", (0.99,))]
    assert cells(printed(rows, {3: 0, 0: 0}, 80)[2])[3:6] == ["97.00", "97.00", "-2.00"]


def test_each_model_has_its_own_control():
    rows = [
        item(1, "lenet-5", "sap", (0.98, 0.98)),
        item(2, "lenet-300-100", "sap", (0.96, 0.96)),
        item(0, "lenet-5", "dense", (0.99, 0.99)),
        item(4, "lenet-300-100", "dense", (0.97, 0.97)),
    ]
    lines = [cells(line) for line in printed(rows, {1: 0, 2: 4}, 120)[2:]]
    assert lines[0][:3] == ["1*", "lenet-5", "sap"] and lines[0][6] == "-1.00±0.00"
    assert lines[1][:3] == ["2*", "lenet-300-100", "sap"] and lines[1][6] == "-1.00±0.00"


def test_the_front_shows_every_objective_once():
    objectives = {"accuracy": "maximize", "flops": "minimize", "train_flops": "minimize"}
    figures = {"params_reduction": 9.96, "flops_reduction": 20.0, "sparsity": 0.9876, "train_flops": 123_456.7}
    found = Found(objectives, (record(3, 0.98, 1_234, **figures), record(1, 0.5, 1_234, state="failed")))
    title, *head, row = lines_of(front_table(found), 120)
    assert title.startswith("front: 1 of 1 completed trials")
    assert cells(" ".join(head)) == "train trial recipe valid. test params fewer FLOPs sparse flops".split()
    assert cells(row) == "3 dyprune 0.9800 - 1,234 10.0x 20.0x 0.9876 123,457".split()


def test_the_front_of_several_models_names_them_and_cuts_no_figure_off():
    objectives = {"accuracy": "maximize", "params": "minimize", "train_flops": "minimize"}
    made = [
        replace(
            record(n, 0.9 + n / 100, 10_000_000 * n + 1, train_flops=3.302e12), config={"model": m, "recipe": "sap"}
        )
        for n, m in enumerate(("lenet-300-100", "resnet-18-cifar"))
    ]
    lines = lines_of(front_table(Found(objectives, tuple(made))), 120)
    assert [cells(line)[:3] for line in lines[-2:]] == [["1", "resnet-18-cifar", "sap"], ["0", "lenet-300-100", "sap"]]
    narrow = lines_of(front_table(Found(objectives, tuple(made))), 80)
    assert max(map(len, narrow)) <= 80
    assert all(figure in " ".join(narrow) for figure in ("0.9100", "10,000,001", "3.302e+12"))
    alone = lines_of(front_table(Found(objectives, tuple(made[:1]))), 120)
    assert "model" not in " ".join(alone)


def test_a_trial_that_another_one_beats_for_sure_is_marked():
    rows = [
        item(0, "lenet-5", "dyprune", (0.90, 0.9001), params=(900, 901)),
        item(1, "lenet-5", "imp", (0.99, 0.9901), params=(100, 101)),
        item(2, "lenet-5", "sap", (0.90, 0.99), params=(900, 901)),
    ]
    wide = printed(rows, {}, 120)
    assert [cells(line)[0] for line in wide[2:5]] == ["0*", "1", "2"]
    assert wide[5].startswith("* beaten: another one is better in all objectives")
    assert len(printed(rows[1:], {}, 120)) == 4


def test_only_a_front_is_exported_and_confirmed_next(tmp_path, capsys):
    layout = SimpleNamespace(name="mine", runs=tmp_path, folder=tmp_path / "mine")
    progress = SimpleNamespace(phase="interrupted", ended=1, counts={"failed": 0})
    search = SimpleNamespace(layout=layout, progress=progress, untracked=0)

    def said(*records):
        searching._show(search, Found(OBJECTIVES, records), failed=False, table=None)
        lines = capsys.readouterr().out.split("next:")[1].strip().splitlines()
        return [line.split()[1] for line in lines]

    assert said(record(0, 0.9, 100)) == ["resume", "report", "export", "confirm", "ui"]
    assert said() == ["resume", "report", "ui"]
