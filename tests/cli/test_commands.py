"""Commands on spaces and on a finished search, through the command line, as a new user types them."""

import io
import json
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import ray
from cli.command import run
from cli.readme import ELSEWHERE, PYTHON, commands
from rich.console import Console
from search.fakes import report
from search.small_spaces import write
from search.test_source import source

from prune_search.export import formats
from prune_search.search.driver import Search
from prune_search.search.layout import Layout
from prune_search.search.progress import Progress
from prune_search.search.view import View, clock, draw, number
from prune_search.training.files import write_reports

SPACES = Path(__file__).parents[2] / "search_spaces"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished search called ``f`` of four trials, and its folder."""
    folder = tmp_path_factory.mktemp("finished")
    ray.init(
        num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}}, log_to_driver=False
    )
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    space = write(folder, trials=4, concurrency=1, enqueue="[{recipe: dense}, {recipe: dyprune}]")
    patch.setattr(sys, "argv", ["prune-search", "run", str(space), "--name", "f", "--record", "--json"])
    from prune_search.cli.main import main

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    patch.undo()
    yield folder
    ray.shutdown()


@pytest.fixture
def call(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    return lambda *arguments: run(monkeypatch, capsys, *arguments)


def test_a_recorded_search_is_replayed(call, finished):
    table, page = finished / "runs" / "f" / "table.parquet", finished / "curves.html"
    options = [
        "--strategy",
        "tpe+moasha,random",
        "--workers",
        "2",
        "--seeds",
        "2",
        "--trials",
        "12",
        "--processes",
        "1",
    ]
    code, out, _ = call("simulate", table, *options, "--json", "--html", page)
    plain = json.loads(out)
    assert code == 0
    assert plain["workers"] == 2 and set(plain["strategies"]) == {"tpe+moasha", "random"}
    completed = [len(plain["strategies"][name]["final"]) for name in plain["strategies"]]
    assert completed == [2, 2]
    assert plain["strategies"]["random"]["trials"]["completed"] >= 2
    assert max(plain["strategies"]["random"]["final"]) > 0
    assert "hypervolume of the front" in page.read_text()
    code, out, _ = call("simulate", table, *options)
    assert code == 0 and "of tpe+moasha to the final hypervolume of the other" in " ".join(out.split())
    assert "completed" in out and "infeasible" not in out
    code, out, _ = call("simulate", table, *options, "--set", "constraints={accuracy: '>= 0.99'}")
    assert code == 0 and "infeasible" in out


@pytest.mark.parametrize("space", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_spaces_are_valid_and_open_with_what_they_are_for(monkeypatch, capsys, space):
    code, out, _ = run(monkeypatch, capsys, "run", space, "--dry-run")
    assert code == 0
    assert "sample 3" in out
    assert all(line.startswith("# ") for line in space.read_text().splitlines()[:2])


def test_check_shows_the_network_and_times_a_step(tmp_path, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "check", SPACES / "own_model.yaml")
    assert code == 0
    assert "4,482 parameters, 4,352 MACs per input" in " ".join(out.split())
    assert "outputs of the network" in " ".join(out.split())
    assert "one step:" in out


def test_parts_lists_every_axis_and_preset(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "parts", "--json")
    listed = json.loads(out)
    assert code == 0
    assert len(listed["axes"]) == 10
    cubic = next(part for part in listed["axes"]["schedule"] if part["name"] == "cubic")
    assert cubic["parameters"]["final_sparsity"] == {"default": 0.9, "range": {"low": 0.5, "high": 0.99}}
    assert {preset["name"] for preset in listed["presets"]} >= {
        "dense",
        "magnitude",
        "random",
        "dyprune",
        "dyprune-authors",
    }
    assert all(preset["source"] and len(preset["parts"]) == 10 for preset in listed["presets"])


def test_doctor(monkeypatch, capsys, tmp_path, finished):
    code, out, _ = run(monkeypatch, capsys, "doctor", "--json", "--runs", tmp_path)
    facts = json.loads(out)
    assert code == 0
    assert facts["versions"]["torch"].startswith("2.")
    assert facts["cpus"] >= 1 and facts["runs"]["writable"]
    assert facts["ray"].startswith("starts in")


def test_doctor_tries_a_storage_and_a_tracking_store(monkeypatch, capsys, tmp_path, finished):
    doctor = ["doctor", "--runs", tmp_path, "--storage"]
    code, out, _ = run(monkeypatch, capsys, *doctor, f"file://{tmp_path}/kept")
    assert code == 0 and f"storage        one can write to file://{tmp_path}/kept\n" in out
    code, out, _ = run(monkeypatch, capsys, *doctor, "s33://bucket")
    assert code == 1 and "storage        resources.storage: got s33://bucket, but fsspec has no protocol 's33'" in out
    code, out, _ = run(monkeypatch, capsys, "doctor", "--runs", tmp_path, "--tracking", "http://127.0.0.1:9", "--json")
    assert code == 1 and json.loads(out)["mlflow"] == "no answer from http://127.0.0.1:9"


def test_status_and_pareto(call):
    code, out, _ = call("status", "f", "--json")
    status = json.loads(out)
    assert (code, status["driven"], sum(status["counts"].values()), status["unfinished"]) == (0, False, 4, 0)
    code, out, _ = call("pareto", "f", "--json", "--html", "front.html")
    front = json.loads(out)
    assert [member["trial"] for member in front["front"]] and front["hypervolume"] > 0
    assert sorted(member["trial"] for member in front["front"]) == sorted(status["front"])
    assert "plotly" in Path("front.html").read_text()[:200_000].lower()
    assert call("pareto", "f")[0] == 0
    assert "f: not running; 4 completed of 4" in call("status")[1]


def test_status_of_a_running_search_shows_how_far_each_trial_is(tmp_path, monkeypatch, capsys):
    layout = Search(write(tmp_path), runs=tmp_path / "runs", name="s").layout
    made, *_ = source(layout.runs)
    first, second = made.next(), made.next()
    first.folder.mkdir(parents=True)
    write_reports(first.folder, [report(0.5, epoch=1), report(0.75, epoch=2, sparsity=0.9)])
    progress = Progress("s", 6, None, phase="searching")
    progress.running = {job.number: {"name": job.name, "epoch": 0} for job in (first, second)}
    progress.warn("MLflow does not answer")
    progress.write(layout)
    status = ["status", "s", "--runs", layout.runs]
    with layout.driver():
        shown = run(monkeypatch, capsys, *status)[1].splitlines()
        running = json.loads(run(monkeypatch, capsys, *status, "--json")[1])["running"]
    assert shown[0].startswith("s: running; nothing ended yet")
    assert shown[1] == "  warning: MLflow does not answer"
    assert shown[2:] == [f"  {first.name}: epoch 2, accuracy 0.7500, sparsity 0.9000", f"  {second.name}: epoch 0"]
    assert running["0"] == {"name": first.name, "epoch": 2, "accuracy": 0.75, "sparsity": 0.9}
    left = run(monkeypatch, capsys, *status)[1].splitlines()
    assert len(left) == 2 and "not running, 2 unfinished" in left[0]


def test_a_trial_in_the_live_view_has_its_last_figures():
    progress = Progress("s", 6, None, phase="searching")
    progress.running = {
        0: {"name": "#000 dense", "epoch": 2, "accuracy": 0.75, "sparsity": 0.9},
        1: {"name": "#001", "epoch": 0},
    }
    screen = io.StringIO()
    Console(file=screen, width=80).print(draw(progress))
    *_, first, second = screen.getvalue().splitlines()
    assert (first.split(), second.split()) == (["#000", "dense", "2", "0.7500", "90.0%"], ["#001", "0"])


def test_without_a_terminal_what_happened_comes_before_the_next_phase():
    progress = Progress("s", 1, None, phase="testing the front", events=["#000 dense completed"])
    written = io.StringIO()
    with View(lambda: progress, Console(file=written)):
        pass
    assert written.getvalue() == "[0:00] #000 dense completed\n[0:00] testing the front\n"


def test_confirm_trains_on_new_seeds_and_does_not_repeat_itself(call, finished):
    layout = Layout(finished / "runs", "f")
    results = [layout.confirmed(trial, seed) / "result.json" for trial in (0, 1) for seed in (1000, 1001)]
    written = lambda: [path.stat().st_mtime_ns for path in results]
    assert call("confirm", "f", "--trial", "1", "--seeds", "2")[0] == 0
    first = written()
    confirmed = json.loads((finished / "runs/f/confirm.json").read_text())
    assert [item["trial"] for item in confirmed] == [1, 0]
    for item in confirmed:
        assert item["failed"] == []
        assert len(set(item["runs"]["loss"])) == 2
        accuracies = item["runs"]["test_accuracy"]
        mean = sum(accuracies) / 2
        error = abs(accuracies[0] - accuracies[1]) / 2
        assert item["figures"]["test_accuracy"] == pytest.approx({"mean": mean, "standard_error": error})
        with sqlite3.connect(finished / "runs/mlflow.db") as database:
            query = (
                "select m.value from latest_metrics m join tags t on t.run_uuid = m.run_uuid "
                "where m.key = 'confirmed_test_accuracy' and t.key = 'prune_search.trial' and t.value = ?"
            )
            assert database.execute(query, [str(item["trial"])]).fetchall() == [(pytest.approx(mean),)]
    assert '<h2 id="confirmed">' in (finished / "runs/f/report.html").read_text()
    call("pareto", "f", "--html", "front.html")
    assert "confirmed: means over new seeds" in Path("front.html").read_text()
    again = json.loads(call("confirm", "f", "--trial", "1", "--seeds", "2", "--json")[1])
    assert again == confirmed and written() == first


def test_export_and_register(call, finished):
    code, out, _ = call("export", "f", "--trial", "1", "--json", "--register", "small")
    exported = json.loads(out)
    assert code == 0
    folder = finished / "runs/f/export/trial-1"
    assert {file.name for file in folder.iterdir()} >= {
        "model.pt2",
        "model.onnx",
        "model.safetensors",
        "load.py",
        "README.md",
    }
    reported = json.loads(call("status", "f", "--json")[1])
    assert reported["counts"] == {"completed": 4}
    (accuracy,) = {verdict["accuracy"] for verdict in exported["verified"].values()}
    metadata = json.loads((folder / "metadata.json").read_text())
    assert accuracy == metadata["metrics"]["accuracy"]
    assert exported["version"] == 1
    from prune_search.tracking import resolve

    registered = resolve(f"sqlite:///{finished}/runs/mlflow.db", "models:/small/1")
    assert (registered / "model.pt2").read_bytes() == (folder / "model.pt2").read_bytes()


def test_export_leaves_out_by_default_what_is_not_installed(call, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "missing_packages", lambda name: ["onnxscript"] if name == "onnx" else [])
    code, out, _ = call("export", "f", "--trial", "1", "--out", tmp_path / "out")
    assert code == 0 and out.endswith("\n  no onnx: run pip install 'prune-search[onnx]'\n")
    assert {path.suffix for path in (tmp_path / "out").glob("model.*")} == {".pt2", ".safetensors"}
    code, _, error = call("export", "f", "--trial", "1", "--format", "pt2, onnx")
    assert code == 2 and "the onnx format needs what is not installed: onnxscript" in error


def test_export_without_a_pick_takes_the_knee_and_rules_are_checked(call):
    code, out, _ = call("export", "f", "--format", "safetensors", "--json")
    assert code == 0
    knee = json.loads(out)["trial"]
    assert knee in json.loads(call("status", "f", "--json")[1])["front"]
    rule = ["--where", "params > 0", "--maximize", "accuracy"]
    best = json.loads(call("export", "f", *rule, "--format", "safetensors", "--json")[1])["trial"]
    accuracies = {
        member["trial"]: member["metrics"]["accuracy"]
        for member in json.loads(call("pareto", "f", "--json")[1])["front"]
    }
    assert accuracies[best] == max(accuracies.values())
    for arguments, words in (
        (["--where", "accuracy > 1"], "No trial fulfils"),
        (["--where", "accuracy >"], "accuracy"),
        (["--where", "acuracy > 0.5"], "Did you mean 'accuracy'"),
        (["--trial", "77"], "trial 77 does not exist"),
        (["--format", "h5"], "pt2"),
        (["--trial", "1", "--pick", "knee"], "give one of"),
    ):
        code, _, err = call("export", "f", *arguments)
        assert code == 2 and words in err, arguments


def test_a_corrupted_checkpoint_is_not_exported(call, finished):
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = finished / "runs/f/trials/1/checkpoint.safetensors"
    whole = path.read_bytes()
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata()
    name = next(name for name in tensors if name.endswith("fc3.weight") and name.startswith("/model"))
    tensors[name] = -tensors[name]
    save_file(tensors, path, metadata=metadata)
    code, out, err = call("export", "f", "--trial", "1", "--out", "never")
    path.write_bytes(whole)
    assert code == 1 and "was measured" in out + err
    assert not Path("never").exists()


def test_ui_shows_parent_children_and_front(finished):
    from prune_search.tracking import free_port

    port = free_port()
    command = [sys.executable, "-m", "prune_search.cli.main", "ui", "--port", str(port), "--runs", finished / "runs"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert f"http://127.0.0.1:{port} ".encode() in server.stdout.readline()
        for line in server.stderr:
            if b"Uvicorn running" in line:
                break
        request = {"experiment_ids": ["1"], "max_results": 50}
        body = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/search",
            json.dumps(request).encode(),
            {"Content-Type": "application/json"},
        )
        runs = json.load(urllib.request.urlopen(body, timeout=30))["runs"]
    finally:
        server.terminate()
        server.wait()
    assert free_port(port) == port  # nothing of the server is left
    tags = [{tag["key"]: tag["value"] for tag in run["data"]["tags"]} for run in runs]
    assert sorted(tag["prune_search.role"] for tag in tags) == ["search"] + ["trial"] * 4
    assert any(tag.get("prune_search.front") == "true" for tag in tags)


def test_clean_keeps_the_front_and_the_results(call, finished):
    front = json.loads(call("status", "f", "--json")[1])["front"]
    stages = finished / "runs/f/stages"
    stages.mkdir()  # as an interrupted search leaves it
    assert call("clean", "f")[0] == 0
    assert not stages.exists()
    kept = {int(path.parent.name) for path in finished.glob("runs/f/trials/*/checkpoint.safetensors")}
    assert kept == set(front)
    assert json.loads(call("status", "f", "--json")[1])["counts"] == {"completed": 4}
    gone = next(iter({0, 1, 2, 3} - kept), None)
    if gone is not None:
        code, _, err = call("export", "f", "--trial", str(gone))
        assert code == 2 and "no checkpoint" in err
    assert call("clean", "f", "--all", "--yes")[0] == 0
    assert not (finished / "runs/f").exists()
    with sqlite3.connect(finished / "runs/mlflow.db") as database:
        assert database.execute("select count(*) from runs where lifecycle_stage = 'active'").fetchone() == (0,)


def test_figures_for_people():
    assert (clock(65), clock(3700), clock(-1)) == ("1:05", "1:01:40", "0:00")
    assert (number(1234567.0), number(0.98765)) == ("1,234,567", "0.9877")
    assert (number(999_999_999), number(3_301_920_000_000)) == ("999,999,999", "3.302e+12")


@pytest.mark.parametrize("width", [80, 160])
def test_the_live_view_fits_its_terminal(width):
    from rich.console import Console

    progress = Progress("digits-20261121-220000", 40, None, phase="searching")
    progress.counts.update(completed=12, failed=1)
    progress.best = {"accuracy": (0.98333, 3), "params": (1234.0, 7), "flops": (2345.0, 7)}
    progress.front, progress.hypervolume = [3, 7], 1.23456
    progress.running = {13: {"name": "#013 dyprune", "epoch": 4, "accuracy": 0.97, "sparsity": 0.65}}
    progress.warn(
        "MLflow does not answer: what is logged waits until it does, and until then the search goes on\ndetails"
    )
    console = Console(width=width, record=True, file=open("/dev/null", "w"))
    console.print(draw(progress))
    text = console.export_text()
    assert [line.split()[0] for line in text.splitlines() if line[:1].isalpha()] == [
        "digits-20261121-220000", "trials", "front", "best", "warning", *["then"] * (width == 80), "running"
    ]  # fmt: skip
    assert max(map(len, text.splitlines())) <= width
    for word in (
        "12 done",
        "1 failed",
        "13/40",
        "front   2",
        "1.2346",
        "0.9833 (#3)",
        "#013 dyprune",
        "65.0%",
        "MLflow does not answer",
    ):
        assert word in text
    assert "details" not in text


def test_doctor_names_the_fewest_trials_at_once_that_are_about_as_fast_as_the_best(
    monkeypatch, capsys, tmp_path, finished
):
    from prune_search.training import packing

    measured = {1: 100.0, 2: 190.0, 4: 196.0}
    monkeypatch.setattr(packing, "rates", lambda config, steps, device: iter(measured.items()))
    path = tmp_path / "space.yaml"
    path.write_text("training: {epochs: 3}\nmodel: lenet-300-100\nrecipe: dense\nobjectives: {accuracy: maximize}\n")
    code, out, _ = run(monkeypatch, capsys, "doctor", "--packing", path)
    assert code == 0 and "  2 at once:       190 images/s, 1.90 times one alone" in out
    assert out.endswith("best: --set search.concurrency=2\n")
    code, out, _ = run(monkeypatch, capsys, "doctor", "--packing", path, "--json")
    assert json.loads(out)["setting"] == "search.concurrency=2" and json.loads(out)["images_per_second"]["4"] == 196.0


def test_doctor_keeps_what_was_measured_before_a_process_ended(monkeypatch, capsys, tmp_path, finished):
    from prune_search.training import packing

    def dying(config, steps, device):
        yield from alive
        raise RuntimeError("with 2 trials at once a process ended before the others")

    monkeypatch.setattr(packing, "rates", dying)
    path = tmp_path / "space.yaml"
    path.write_text("training: {epochs: 3}\nmodel: lenet-300-100\nrecipe: dense\nobjectives: {accuracy: maximize}\n")
    alive = [(1, 100.0)]
    code, out, _ = run(monkeypatch, capsys, "doctor", "--packing", path)
    assert code == 0 and "a process ended" in out and out.endswith("best: --set search.concurrency=1\n")
    alive = []
    code, _, err = run(monkeypatch, capsys, "doctor", "--packing", path)
    assert code == 2 and "prune-search check" in err


def test_the_readmes_commands_run_one_after_another(call, finished):
    """Trained for two epochs; what such a search lacks (a trial 7, 95 % accuracy, SPACE.yaml) is put in its place. All formats are
    exported above.
    """
    short = {"run": ["--set", "search.trials=2", "--set", "training.epochs=2"], "export": ["--format", "safetensors"]}
    other = {"7": "1", "accuracy >= 0.95": "accuracy >= 0.05", "SPACE.yaml": "small.yaml"}
    other["pt2,onnx,safetensors"] = "safetensors"
    other["search_spaces/digits.yaml"] = SPACES / "digits.yaml"
    ran = []
    for words in commands():
        if words[0] not in ELSEWHERE:
            code, _, error = call(
                *(other.get(word, word) for word in words), *(() if "--format" in words else short.get(words[0], ()))
            )
            assert code == 0, (words, error)
            ran.append(words[0])
    assert ran == ["run", "status", "pareto", "report", "confirm", "rerun", "export", "export", "manifest"]
    folder = finished / "runs" / "digits"
    assert {"report.html", "confirm.json", "export"} <= {path.name for path in folder.iterdir()}
    names = {}
    exec(PYTHON[0].replace("0.95", "0.05"), names)
    assert len(names["result"].front) >= 1
