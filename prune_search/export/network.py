"""One network, written in some formats, verified, and put in place with its model card."""

from __future__ import annotations

import copy
import json
import platform
import shutil
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from prune_search.cost.encoding import read_tensors
from prune_search.errors import UserError
from prune_search.export.card import CardInfo, card
from prune_search.export.formats import FORMATS, Source, check_formats
from prune_search.export.verify import BATCH, ExportError, Verdict, verify_exports

MARK = "prune-search-export"
_OURS = {"README.md", "metadata.json", "__pycache__"}.union(*({f.file, *f.beside} for f in FORMATS.values()))


@dataclass(frozen=True)
class Exported:
    """An export: its folder, the main file of each format, bytes by file name, verdicts by format."""

    folder: Path
    files: dict[str, Path]
    sizes: dict[str, int]
    verdicts: dict[str, Verdict]


def export_network(
    model: nn.Module,
    *,
    out: Path,
    formats: Sequence[str],
    example_input: Tensor,
    validation: tuple[Tensor, Tensor],
    info: CardInfo,
) -> Exported:
    """Write a network, verify each file in a process of its own, and move the folder into place.

    Args:
        model: the network after removal, batch norm kept; left untouched; a copy is exported,
            in eval mode, as float32, on the CPU.
        out: the folder to make; movable afterwards. An earlier export there is replaced, after success only.
        formats: names of :data:`prune_search.export.formats.FORMATS`.
        example_input: normalised float32 ``[N, ...]``; only its shape reaches the files.
        validation: normalised float32 inputs ``[N, ...]`` and int64 labels ``[N]``.
        info: for the model card and ``metadata.json``; what was written and verified is filled in here.

    Raises:
        UserError: unknown format, missing package, ``out`` holds other files, no validation inputs, or a
            network that cannot be recorded for safetensors.
        ExportError: torch cannot export the network, or a file does not answer like the network.
    """
    formats = list(dict.fromkeys(formats))
    out = Path(out)
    check_formats(formats)
    _check_replaceable(out)
    inputs, labels = validation[0].detach().cpu().float(), validation[1].detach().cpu()
    if not len(inputs):
        raise UserError("an export is verified on validation inputs, and there are none; set data.validation_size.")
    network = copy.deepcopy(model).cpu().float().eval()
    expected = _logits(network, inputs)
    place = out.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        with closing(Source(network, example_input.detach().cpu().float())) as source:
            for name in formats:
                FORMATS[name].write(source, temporary)
        verdicts = verify_exports(temporary, formats, inputs, labels, expected)
        sizes = {path.name: path.stat().st_size for path in sorted(temporary.iterdir())}
        tensor_bytes = _tensor_bytes(temporary) if "safetensors" in formats else None
        info = replace(info, sizes=sizes, tensor_bytes=tensor_bytes, verdicts=verdicts, environment=_environment())
        _write_about(temporary, info)
        _put_in_place(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Exported(out, {name: out / FORMATS[name].file for name in formats}, sizes, verdicts)


def _logits(network: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        outputs = [network(batch.clone()) for batch in inputs.split(BATCH)]
    if not isinstance(outputs[0], Tensor):
        raise UserError(
            f"an exported network returns one tensor of logits; this one returns {type(outputs[0]).__name__}."
        )
    return torch.cat(outputs)


def _check_replaceable(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; an export is a folder. Choose another --out.")
    present = {path.name for path in out.iterdir()} if out.exists() else set()
    if not present:
        return
    try:
        earlier = json.loads((out / "metadata.json").read_text(encoding="utf-8"))["format"] == MARK
    except (OSError, ValueError, KeyError, TypeError):
        earlier = False
    if not earlier or present - _OURS:
        names = ", ".join(sorted(present - _OURS if earlier else present)[:3])
        raise UserError(f"{out} holds files that are not of an export ({names}). Choose another --out, or move them.")


def _tensor_bytes(folder: Path) -> int:
    return sum(tensor.nbytes for tensor in read_tensors(folder / FORMATS["safetensors"].file).values())


def _environment() -> dict[str, str]:
    return {"Python": platform.python_version(), "torch": torch.__version__, "platform": platform.platform()}


def _write_about(folder: Path, info: CardInfo) -> None:
    (folder / "README.md").write_text(card(info), encoding="utf-8")
    metadata = json.dumps({"format": MARK, **asdict(info)}, indent=1, default=str)
    (folder / "metadata.json").write_text(metadata + "\n", encoding="utf-8")


def _put_in_place(folder: Path, out: Path) -> None:
    """Move ``folder`` to ``out``. An earlier export steps aside, and is deleted when the new one stands."""
    if not out.exists():
        folder.rename(out)
        return
    aside = folder.with_name(folder.name + ".old")
    out.rename(aside)
    try:
        folder.rename(out)
    except OSError as error:
        aside.rename(out)
        raise ExportError(f"the export cannot be moved to {out}: {error}") from error
    shutil.rmtree(aside)
