"""A network by name: built in, of torchvision, or of the user; from a seed or from a checkpoint."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from prune_search.cost.encoding import read_tensors
from prune_search.errors import UserError, nearest
from prune_search.zoo.data import Data
from prune_search.zoo.importing import call_accepted, is_import_path, load_object
from prune_search.zoo.names import MODELS, canonical
from prune_search.zoo.networks import BUILDERS


def build_model(
    name: str,
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    seed: int,
    checkpoint: str | Path | None = None,
    resolve: Callable[[str], str | Path] | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> nn.Module:
    """A network on the CPU, in train mode, that gives [N, num_classes] for inputs [N, *input_shape].

    Args:
        name: a built-in name, a classifier of torchvision.models (without weights) or
            ``package.module:function``, which is called with ``input_shape`` and ``num_classes`` as far as
            it takes them, and with all ``options``.
        seed: of the initialisation, also of lazy layers. The global generators are left as they were.
        checkpoint: a state dict in .safetensors (an exported one too) or .pt/.pth (tensors only), or
            ``models:/...`` to ``resolve``.
        resolve: from a ``models:/`` URI to a local file.
        options: passed to a torchvision or user's function; built-in networks take none.

    Raises:
        UserError: unknown name or option, unfit images, a function that raises, an unfit checkpoint.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = _build(name, tuple(input_shape), num_classes, dict(options))
        if isinstance(model, nn.Module) and any(map(is_lazy, model.parameters())):
            with torch.no_grad(), suppress(Exception):  # check_model says what is wrong
                model.eval()(torch.zeros(2, *input_shape))
    if not isinstance(model, nn.Module):
        raise UserError(f"model.name {name} gave a {type(model).__name__}; it must return a torch.nn.Module.")
    if checkpoint is not None:
        _load_state(model, name, _local(checkpoint, resolve))
    return model.train()


def check_model(model: nn.Module, data: Data) -> None:
    """Runs two training images through the model, in eval mode, on its own device; it is left as it was.

    Raises:
        UserError: it raises, or gives anything but a tensor [2, number of classes].
    """
    parameter = next(model.parameters(), None)
    inputs = data.inputs(data.train.images[:2])
    inputs = inputs if parameter is None else inputs.to(parameter.device)
    shapes = f"inputs {list(inputs.shape)} (channels, height, width of {data.name}: {list(data.input_shape)})"
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            output = model.eval()(inputs)
    except Exception as error:
        raise UserError(
            f"The model cannot take {shapes}: {type(error).__name__}: {error}. Choose a model for such "
            f"images (built in: {', '.join(MODELS)}), or build one in a function of your own that takes "
            "input_shape."
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    wanted = [len(inputs), len(data.classes)]
    if not isinstance(output, Tensor) or list(output.shape) != wanted:
        came = list(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise UserError(
            f"The model gives {came} for {shapes}; a tensor {wanted} is needed, one score for each class of "
            f"{data.name}. Let the model return only its scores, with num_classes={len(data.classes)}."
        )


def _build(name: str, input_shape: tuple[int, ...], num_classes: int, options: dict[str, Any]) -> nn.Module:
    if is_import_path(name):
        offered = {"input_shape": input_shape, "num_classes": num_classes}
        return call_accepted(load_object(name), name, offered, options)
    if builtin := canonical(name, BUILDERS):
        if options:
            raise UserError(f"model.{next(iter(options))} is unknown: {builtin} takes no options. Remove it.")
        return BUILDERS[builtin](input_shape, num_classes)
    return _torchvision(name, num_classes, options)


def _torchvision(name: str, num_classes: int, options: dict[str, Any]) -> nn.Module:
    import torchvision

    offered = torchvision.models.list_models(module=torchvision.models)
    found = canonical(name, offered)
    if found is None:
        raise UserError(
            f"model.name '{name}' is unknown.{nearest(name, [*MODELS, *offered])} Built in: "
            f"{', '.join(MODELS)}. Or a classifier of torchvision ({', '.join(offered[:6])}, ...), or your "
            "own function as package.module:function."
        )
    if "aux_logits" in inspect.signature(torchvision.models.get_model_builder(found)).parameters:
        options = {"aux_logits": False} | options
    try:
        return torchvision.models.get_model(found, weights=None, num_classes=num_classes, **options)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"torchvision's {found} cannot be built with {options or 'no options'}: {error}. Mend the "
            "options beside model.name."
        ) from error


def _local(checkpoint: str | Path, resolve: Callable[[str], str | Path] | None) -> Path:
    if str(checkpoint).startswith("models:/"):
        if resolve is None:
            raise UserError(
                f"model.checkpoint {checkpoint} is in a model registry, which cannot be reached here. "
                "Register the model in the tracking store of this search, or download it and give the path "
                "of its file."
            )
        checkpoint = resolve(str(checkpoint))
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise UserError(f"model.checkpoint {path.absolute()} is no file. Give a .safetensors or .pt file.")
    return path


def _load_state(model: nn.Module, name: str, path: Path) -> None:
    state, expected = _read_state(path), model.state_dict()
    shapes = [
        f"{key} is {list(state[key].shape)}, not {list(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    problems = {
        "missing": [key for key in expected if key not in state],
        "unexpected": [key for key in state if key not in expected],
        "of another shape": shapes,
    }
    if any(problems.values()):
        told = "; ".join(f"{len(keys)} {what} ({_some(keys)})" for what, keys in problems.items() if keys)
        raise UserError(
            f"model.checkpoint {path} does not fit {name}, which has {len(expected)} tensors: {told}. Give "
            "the checkpoint of this model, with the same number of classes and the same options."
        )
    try:
        model.load_state_dict(state)
    except (
        RuntimeError,
        TypeError,
        NotImplementedError,
    ) as error:  # tensors without values, or of kinds that none turns into another
        raise UserError(f"model.checkpoint {path} cannot be copied into {name}: {str(error)[:300]}") from error


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return read_tensors(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"model.checkpoint {path} cannot be read ({type(error).__name__}: "
            f"{next(iter(str(error).splitlines()), 'no reason')}). Save the state dict as .safetensors, or with "
            "torch.save(model.state_dict(), ...); pickled code is not loaded."
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    named = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"model.checkpoint {path} holds no state dict of tensors. Save model.state_dict() alone.")
    return state


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
