from __future__ import annotations

import ast
import contextlib
import copy
import gc
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.sym_node import SymNode

from prune_search.cost import LayerCost, read_tensors
from prune_search.errors import UserError
from prune_search.export.card import card
from prune_search.export.formats import FORMATS, Source
from prune_search.export.load_safetensors import load
from prune_search.export.network import Exported, export_network
from prune_search.export.snippets import snippet
from prune_search.export.verify import ExportError, Verdict, accuracy_of, judge, verify_exports

from .networks import INFO, VALIDATION, ShortcutNet, settled

ALL_FILES = {
    "README.md",
    "metadata.json",
    "model.pt2",
    "model.onnx",
    "model.safetensors",
    "architecture.json",
    "load.py",
}


def export(network: nn.Module, out: Path, formats: list[str], validation=VALIDATION) -> Exported:
    example = validation[0][:1]
    return export_network(network, out=out, formats=formats, example_input=example, validation=validation, info=INFO)


def expected_logits(network: nn.Module) -> Tensor:
    with torch.no_grad():
        return copy.deepcopy(network).eval()(VALIDATION[0])


def traced() -> int:
    """Tensors and sizes of torch.export's traces that are in memory."""
    gc.collect()
    return sum(type(item) in (FakeTensor, SymNode) for item in gc.get_objects())


class FixedBatch(nn.Module):
    """Cannot be exported for batches of all sizes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] if x.shape[0] == 2 else x.flatten(1)[:, 3:6]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Exported, str]:
    """A network, its export in all formats, and what was printed meanwhile."""
    torch.manual_seed(0)
    network = settled(ShortcutNet(), (1, 8, 8))
    out = tmp_path_factory.mktemp("exports") / "new" / "trial-17"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        return network, export(network, out, list(FORMATS)), printed.getvalue()


@pytest.fixture
def folder(exported, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported[1].folder, tmp_path / "out"))


def test_every_format_answers_like_the_network(exported) -> None:
    network, export, printed = exported
    assert network.training
    assert printed == ""
    assert [path.name for path in export.folder.parent.iterdir()] == ["trial-17"]
    assert {path.name for path in export.folder.iterdir()} == ALL_FILES
    assert {name: path.name for name, path in export.files.items()} == {
        "pt2": "model.pt2",
        "onnx": "model.onnx",
        "safetensors": "model.safetensors",
    }
    assert export.sizes["model.onnx"] == export.files["onnx"].stat().st_size
    logits = expected_logits(network)
    for verdict in export.verdicts.values():
        assert verdict.accuracy == accuracy_of(logits, VALIDATION[1])
        assert verdict.max_abs_difference <= 1e-5 * verdict.scale
        assert verdict.scale == pytest.approx(logits.abs().max().item())


def test_files_hold_no_path_of_the_machine_that_made_them(exported) -> None:
    here = str(Path(__file__).parent).encode()
    assert [path.name for path in exported[1].folder.iterdir() if here in path.read_bytes()] == []


def test_metadata(exported) -> None:
    metadata = json.loads((exported[1].folder / "metadata.json").read_text())
    assert metadata["classes"] == ["zero", "one", "two"]
    assert (metadata["mean"], metadata["std"], metadata["input_shape"]) == ([0.25], [0.5], [1, 8, 8])
    assert metadata["recipe"] == {"preset": "dyprune", "schedule": {"rate": {"max_rate": 0.5}}}
    assert metadata["verdicts"]["onnx"]["accuracy"] == exported[1].verdicts["onnx"].accuracy


def test_code_of_the_card_runs_in_a_moved_folder_without_the_package(exported, folder: Path) -> None:
    """The three snippets, then load.py as a script, in one process that has no prune_search."""
    snippets = [part.split("```")[0] for part in (folder / "README.md").read_text().split("```python\n")[1:]]
    before = "import sys; sys.modules['prune_search'] = None; sys.path.insert(0, '.'); sys.argv = ['load.py']"
    after = "import runpy; runpy.run_path('load.py', run_name='__main__')"
    command = [sys.executable, "-I", "-c", "\n".join([before, *snippets, after])]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert process.returncode == 0, process.stderr
    *answers, summary = process.stdout.splitlines()
    assert [len(ast.literal_eval(answer)) for answer in answers] == [4, 4, 4]
    assert {name for answer in answers for name in ast.literal_eval(answer)} <= {"zero", "one", "two"}
    parameters = sum(parameter.numel() for parameter in exported[0].parameters())
    assert summary == f"{parameters} parameters; inputs [N, 1, 8, 8] -> outputs [N, 3]"


def test_a_changed_weight_is_noticed(exported, folder: Path) -> None:
    logits = expected_logits(exported[0])
    weights = read_tensors(folder / "model.safetensors")
    weights["head.bias"][0] += 2e-4 * logits.abs().max()
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ExportError, match="safetensors file answers differently"):
        verify_exports(folder, ["safetensors"], *VALIDATION, logits)


def test_a_file_that_needs_the_package_is_noticed(exported, folder: Path) -> None:
    (folder / "load.py").write_text("import prune_search\n")
    with pytest.raises(ExportError, match="does not run on its own (.|\n)*import of prune_search halted"):
        verify_exports(folder, ["safetensors"], *VALIDATION, expected_logits(exported[0]))


def test_a_failed_export_leaves_the_earlier_one(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ExportError, match="free batch size"):
        export(FixedBatch(), folder, ["pt2"])

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


def test_an_mlp_replaces_the_earlier_export(mlp: nn.Module, folder: Path) -> None:
    export(mlp, folder, ["safetensors", "safetensors"])
    assert {path.name for path in folder.iterdir()} == ALL_FILES - {"model.pt2", "model.onnx"}
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    with torch.no_grad():
        assert torch.equal(load(folder)(VALIDATION[0]), mlp.eval()(VALIDATION[0]))


@pytest.mark.parametrize(
    ("accuracy", "difference", "scale", "words"),
    [
        (0.5, 1e-4, 1.0, None),
        (0.5, 0.0, 0.0, None),
        (0.5, 1.1e-4, 1.0, "answers differently"),
        (0.5, float("nan"), 1.0, "answers differently"),
        (0.5 - 1e-9, 0.0, 1.0, "has an accuracy of"),
    ],
)
def test_verdicts(accuracy: float, difference: float, scale: float, words: str | None) -> None:
    with pytest.raises(ExportError, match=words) if words else contextlib.nullcontext():
        judge("pt2", Verdict(accuracy, difference, scale), 0.5)


def test_users_mistakes(mlp: nn.Module, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UserError, match="unknown export format 'safetensor'; the formats are pt2, onnx, safetensors"):
        export(mlp, tmp_path / "a", ["safetensor"])
    with pytest.raises(UserError, match="no export format"):
        export(mlp, tmp_path / "a", [])
    with pytest.raises(UserError, match="there are none"):
        export(mlp, tmp_path / "a", ["pt2"], (torch.zeros(0, 1, 8, 8), torch.zeros(0)))

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    with pytest.raises(UserError, match="not of an export .README.md."):
        export(mlp, tmp_path / "mine", ["pt2"])
    assert (tmp_path / "mine" / "README.md").read_text() == "mine"

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(
        UserError, match="needs what is not installed: onnxruntime; run pip install 'prune-search.onnx.'"
    ):
        export(mlp, tmp_path / "a", ["onnx"])
    assert not (tmp_path / "a").exists()


def test_card_tells_all() -> None:
    verdict = Verdict(accuracy=0.9375, max_abs_difference=2e-7, scale=12.5)
    text = card(
        replace(
            INFO,
            sizes={"model.pt2": 54321, "model.safetensors": 1234},
            tensor_bytes=9876,
            verdicts={"pt2": verdict},
            environment={"torch": "2.11.0", "Python": "3.11"},
            layers=[
                (LayerCost("fc1", "Linear", (300, 784), 235_200, 235_200, 235_200),) * 2,
                (
                    LayerCost("fc2", "Linear", (100, 300), 30_000, 30_000, 30_000),
                    LayerCost("fc2", "AdaptedLinear", (40, 100), 1_234, 1_234, 4_000),
                ),
            ],
        )
    )
    for words in (
        "| fc1 | Linear | 300x784 | 235,200 | 235,200 |",
        "| fc2 | Linear | 100x300 to 40x100 | 1,234 | 4,000 (7.50x fewer) |",
        "Trial 17 of the search `digits-2024`",
        "400 of 12,345 parameters",
        "in this order: zero, one, two",
        "float32 `[N, 1, 8, 8]`, normalised: values divided by 255, minus mean [0.25], divided by std [0.5]",
        "| params | 12,345 | 400 |",
        "| flops_reduction |  | 7.25x |",
        "| model.pt2 | 54,321 |",
        "20.0% of the 500 numbers in the parameters are zeros.",
        "compute 10.00x fewer",
        "do not speed up dense kernels (torch, onnxruntime)",
        "1,234 bytes, header included, for tensors of 9,876 bytes",
        "preset: dyprune",
        "40 trials were tried, with training seed 3",
        "| pt2 | 0.937500 | 2e-07 | 12.5 |",
        "- torch: 2.11.0",
    ):
        assert words in text
    assert "model.onnx" not in text
    assert "bitmap" not in card(INFO)


@pytest.mark.parametrize(
    ("divide_by", "mean", "std", "words"),
    [
        (
            255,
            (0.5, 0.25),
            (1.0, 2.0),
            "= (raw / 255 - torch.tensor([0.5, 0.25]).reshape(-1, 1, 1)) / torch.tensor([1.0, 2.0])",
        ),
        (1, (), (), "inputs = raw\n"),
    ],
)
def test_snippets_normalise(divide_by: float, mean: tuple, std: tuple, words: str) -> None:
    assert words in snippet("pt2", replace(INFO, divide_by=divide_by, mean=mean, std=std))


def test_an_exported_program_does_not_stay_in_memory(mlp, tmp_path):
    with contextlib.closing(Source(mlp.eval(), VALIDATION[0])) as source:  # torch keeps the last program
        FORMATS["pt2"].write(source, tmp_path)
    del source
    (tmp_path / "model.pt2").unlink()
    before = traced()
    export(mlp, tmp_path, ["pt2"])
    assert traced() == before
