"""Rebuild a network from ``architecture.json`` and ``model.safetensors``. Needs only torch and safetensors.

    python load.py [FOLDER]          prints what the network is and runs it once

or, from Python, ``from load import load; network = load("FOLDER")``.

The architecture is data, not code: a list of steps, each of which names a layer of ``torch.nn``, a tensor
function or a tensor method that is on the lists below. Anything else is refused; a file holds no code. What a file can do is
ask for more memory than there is, when the network is run.

A sparse tensor NAME of the file, of n entries in row-major order, is two: ``NAME.bitmap``, uint8 [ceil(n / 8)], one bit
per entry, the first in the lowest bit of a byte; and ``NAME.values``, the entries whose bit is set. The others are 0.
Its shape is in the metadata: ``sparse`` is JSON {NAME: shape}. A file without it holds every tensor in full.
"""

from __future__ import annotations

import json
import math
import operator
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

FORMAT, VERSION = "prune-search-architecture", 1
LARGEST = 2**63 - 1  # a whole number; this and the next two are our choice
MOST_TIMES = 16  # exponents of numbers, and repeats of lists
LONGEST = 10_000  # a list

LAYERS = tuple(
    """AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d
    AdaptiveMaxPool3d AlphaDropout AvgPool1d AvgPool2d AvgPool3d BatchNorm1d BatchNorm2d BatchNorm3d
    Bilinear CELU ChannelShuffle ConstantPad1d ConstantPad2d ConstantPad3d Conv1d Conv2d Conv3d
    ConvTranspose1d ConvTranspose2d ConvTranspose3d Dropout Dropout1d Dropout2d Dropout3d ELU
    FeatureAlphaDropout Flatten GELU GLU GroupNorm Hardshrink Hardsigmoid Hardswish Hardtanh Identity
    InstanceNorm1d InstanceNorm2d InstanceNorm3d LPPool1d LPPool2d LayerNorm LeakyReLU Linear
    LocalResponseNorm LogSigmoid LogSoftmax MaxPool1d MaxPool2d MaxPool3d Mish PReLU PixelShuffle
    PixelUnshuffle RMSNorm ReLU ReLU6 ReflectionPad1d ReflectionPad2d ReplicationPad1d ReplicationPad2d
    SELU SiLU Sigmoid Softmax Softplus Softshrink Softsign Tanh Tanhshrink Threshold Unflatten Upsample
    ZeroPad1d ZeroPad2d ZeroPad3d""".split()
)
_TORCH = """abs add addmm amax amin arange argmax avg_pool1d baddbmm bmm cat chunk clamp concat cos cumsum div
    einsum eq erf exp flatten flip floor full ge gt hstack index_select le log log1p log_softmax
    logsumexp lt matmul max maximum mean min minimum mm mul narrow ne neg norm numel ones ones_like
    permute pow prod relu repeat_interleave reshape roll rsqrt select selu sigmoid sign sin softmax
    split sqrt square squeeze stack std sub sum swapaxes tanh tile transpose unbind unflatten unsqueeze
    var vstack where zeros zeros_like""".split()
_FUNCTIONAL = """adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d alpha_dropout avg_pool1d avg_pool2d avg_pool3d batch_norm bilinear
    celu conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d dropout dropout1d dropout2d
    dropout3d elu gelu glu group_norm hardshrink hardsigmoid hardswish hardtanh instance_norm
    interpolate layer_norm leaky_relu linear local_response_norm log_softmax logsigmoid lp_pool1d
    lp_pool2d max_pool1d max_pool2d max_pool3d mish normalize pad pixel_shuffle pixel_unshuffle prelu
    relu relu6 rms_norm scaled_dot_product_attention selu sigmoid silu softmax softplus softshrink
    softsign tanh tanhshrink threshold unfold""".split()
_OPERATORS = """add and_ eq floordiv ge getitem gt iadd imul invert isub itruediv le lt matmul mod mul ne neg
    or_ pos pow sub truediv""".split()
FUNCTIONS = {
    **{f"torch.{name}": getattr(torch, name) for name in _TORCH},
    **{f"torch.nn.functional.{name}": getattr(F, name) for name in _FUNCTIONAL},
    **{f"operator.{name}": getattr(operator, name) for name in _OPERATORS},
}
METHODS = tuple(
    """abs add add_ amax amin argmax bmm chunk clamp clamp_ clone contiguous cos cumsum detach dim div div_
    double eq exp expand expand_as flatten flip float floor ge gt index_add index_copy index_fill
    index_select le log log_softmax lt masked_fill matmul max mean min mm mul mul_ narrow ne neg
    new_ones new_zeros norm numel permute pow prod relu relu_ repeat repeat_interleave reshape roll
    rsqrt select sigmoid sigmoid_ sign sin size softmax split sqrt square squeeze std sub sub_ sum
    swapaxes t tanh tanh_ to transpose type_as unbind unflatten unfold unsqueeze var view view_as""".split()
)
ATTRIBUTES = ("shape", "ndim", "dtype", "device", "T", "mT")  # of tensors, by the function "getattr"
DTYPES = {
    name: getattr(torch, name)
    for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")
}


class Refused(ValueError):
    """The architecture asks for something that is not on the lists, or is not an architecture at all."""


@dataclass(frozen=True)
class Ref:
    """Stands in arguments for the result of an earlier step."""

    name: str


def decode(value: object, known: set[str]) -> object:
    """A JSON argument as a Python value; references must name a step in ``known``."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [decode(item, known) for item in value]
    if isinstance(value, dict) and len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "node" and content in known:
            return Ref(content)
        if kind == "tuple" and isinstance(content, list):
            return tuple(decode(item, known) for item in content)
        if kind == "slice" and isinstance(content, list) and len(content) == 3:
            return slice(*(decode(item, known) for item in content))
        if kind == "ellipsis":
            return ...
        if kind == "float" and content in ("inf", "-inf", "nan"):
            return float(content)
        if kind == "dtype" and content in DTYPES:
            return DTYPES[content]
    raise Refused(f"the argument {value!r} is not allowed")


def _resolve(value: object, results: dict) -> object:
    if isinstance(value, Ref):
        return results[value.name]
    if isinstance(value, (list, tuple)):
        return type(value)(_resolve(item, results) for item in value)
    if isinstance(value, dict):
        return {key: _resolve(item, results) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(_resolve(item, results) for item in (value.start, value.stop, value.step)))
    return value


def _references(value: object) -> set[str]:
    if isinstance(value, slice):
        value = (value.start, value.stop, value.step)
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (list, tuple)):
        return set().union(*map(_references, value))
    return {value.name} if isinstance(value, Ref) else set()


@dataclass(frozen=True)
class Step:
    """One step of the forward pass; ``frees`` are the results that nobody needs after it."""

    name: str
    op: str
    target: str
    args: tuple
    kwargs: dict
    frees: tuple[str, ...] = ()


def _check(step: Step, layers: dict, tensors: dict) -> None:
    allowed = {
        "call_module": layers,
        "get_attr": tensors,
        "call_function": [*FUNCTIONS, "getattr"],
        "call_method": METHODS,
        "placeholder": ["input"],
        "output": ["output"],
    }
    if step.op not in allowed or step.target not in allowed[step.op]:
        raise Refused(f"step {step.name!r}: {step.op} {step.target!r} is not allowed")
    if step.target == "getattr" and (step.kwargs or len(step.args) != 2 or step.args[1] not in ATTRIBUTES):
        raise Refused(f"step {step.name!r}: of a tensor's attributes only {', '.join(ATTRIBUTES)} may be read")


def _check_plain(step: Step, args: tuple) -> None:
    """Arithmetic without tensors, which is about sizes, must neither fill the memory nor go on for ever."""
    if any(isinstance(arg, Tensor) for arg in args):
        return
    numbers = all(isinstance(arg, (bool, int, float)) for arg in args)
    sequences = step.target in ("operator.add", "operator.getitem", "operator.eq", "operator.ne")
    times = step.target == "operator.mul" and any(isinstance(arg, int) and arg <= MOST_TIMES for arg in args)
    power = step.target == "operator.pow" and numbers and any(abs(arg) > MOST_TIMES for arg in args[1:])
    if power or not (numbers or sequences or times):
        raise Refused(
            f"step {step.name!r}: {step.target} is not allowed of {', '.join(type(arg).__name__ for arg in args)}"
        )


def _steps(nodes: list[dict], layers: dict, tensors: dict) -> list[Step]:
    steps: list[Step] = []
    known: set[str] = set()
    for node in nodes:
        args = tuple(decode(value, known) for value in node["args"])
        kwargs = {key: decode(value, known) for key, value in node["kwargs"].items()}
        steps.append(Step(node["name"], node["op"], node["target"], args, kwargs))
        _check(steps[-1], layers, tensors)
        known.add(node["name"])
    ops = [step.op for step in steps]
    if len(known) != len(steps) or ops.count("placeholder") != 1 or ops.count("output") != 1 or ops[-1] != "output":
        raise Refused("an architecture has distinct steps, one input, and one output, which comes last")
    freed: set[str] = set()
    for index in reversed(range(len(steps))):
        step = steps[index]
        last = (_references(step.args) | _references(step.kwargs)) - freed
        freed |= last
        steps[index] = Step(step.name, step.op, step.target, step.args, step.kwargs, tuple(sorted(last)))
    return steps


def _layer(name: str, description: dict) -> nn.Module:
    kind = description["kind"]
    if kind not in LAYERS:
        raise Refused(f"layer {name!r}: {kind!r} is not one of the layers of torch.nn that are allowed")
    arguments = {key: decode(value, set()) for key, value in description["arguments"].items()}
    with torch.device("meta"):
        return getattr(nn, kind)(**arguments)


def _owner(root: nn.Module, path: str) -> tuple[nn.Module, str]:
    """The container that holds ``path``, made on the way, and the last part of the path."""
    *parents, last = path.split(".")
    for part in parents:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root._modules[part]
    return root, last


class Network(nn.Module):
    """Runs the steps of an architecture; layers and tensors are named like those of the recorded network."""

    def __init__(self, architecture: dict, weights: dict[str, Tensor]) -> None:
        super().__init__()
        made = isinstance(architecture, dict) and (architecture.get("format"), architecture.get("version"))
        if made != (FORMAT, VERSION):
            raise Refused(f"not a {FORMAT} of version {VERSION}; made by a newer prune-search?")
        layers, tensors = architecture["layers"], architecture["tensors"]
        self._steps = _steps(architecture["nodes"], layers, tensors)
        for name, description in layers.items():
            owner, last = _owner(self, name)
            owner.add_module(last, _layer(name, description))
        for name, kind in tensors.items():
            owner, last = _owner(self, name)
            if last in owner._parameters or last in owner._buffers:
                continue  # it belongs to a layer
            if kind == "parameter":
                owner.register_parameter(last, nn.Parameter(weights[name]))
            else:
                owner.register_buffer(last, weights[name])

    def forward(self, inputs: Tensor) -> Tensor:
        results: dict = {}
        for step in self._steps:
            args, kwargs = _resolve(step.args, results), _resolve(step.kwargs, results)
            if step.op == "placeholder":
                value = inputs
            elif step.op == "call_module":
                value = self.get_submodule(step.target)(*args, **kwargs)
            elif step.op == "get_attr":
                value = operator.attrgetter(step.target)(self)
            elif step.op == "output":
                return args[0]
            elif step.op == "call_method" or step.target == "getattr":
                if not isinstance(args[0], Tensor):
                    raise Refused(f"step {step.name!r}: {step.target} of something that is not a tensor")
                value = getattr(args[0], args[1] if step.target == "getattr" else step.target)
                value = value if step.target == "getattr" else value(*args[1:], **kwargs)
            else:
                if step.target.startswith("operator."):
                    _check_plain(step, args)
                value = FUNCTIONS[step.target](*args, **kwargs)
            large = isinstance(value, int) and abs(value) > LARGEST
            if large or isinstance(value, (tuple, list, str)) and len(value) > LONGEST:
                raise Refused(f"step {step.name!r}: {step.target} gives more than a network needs")
            results[step.name] = value
            for name in step.frees:
                del results[name]


def build(architecture: dict, weights: dict[str, Tensor]) -> nn.Module:
    """The network that an architecture record describes, with its weights, in eval mode.

    Raises:
        Refused: the record names something that is not on the lists of this file, is no record, or has other weights.
    """
    try:
        network = Network(architecture, weights)
        network.load_state_dict(weights, strict=True, assign=True)
    except Refused:
        raise
    except Exception as error:  # a record is data from anywhere: whatever it breaks, it is no network
        raise Refused(f"no network can be built of this ({type(error).__name__}: {error})") from error
    return network.eval()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, on the CPU, bit for bit as encoded; sparse ones in full.

    Raises:
        ValueError: it is no safetensors file; or bitmap, values and shape of a sparse tensor do not fit together.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            metadata = (file.metadata() or {}).get("sparse", "{}")
    except (SafetensorError, TypeError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error
    try:
        shapes = dict(json.loads(metadata))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the metadata 'sparse' is no JSON object of shapes: {metadata[:80]!r}") from error
    for name, shape in shapes.items():
        if name in tensors:
            raise ValueError(f"the tensor {name!r} is stored twice, in full and sparse")
        tensors[name] = _unpack(name, shape, tensors.pop(f"{name}.bitmap", None), tensors.pop(f"{name}.values", None))
    return tensors


def _unpack(name: str, shape: list[int], bitmap: Tensor | None, values: Tensor | None) -> Tensor:
    if bitmap is None or values is None:
        raise ValueError(f"the sparse tensor {name!r} lacks its bitmap or its values")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"the sparse tensor {name!r} has the shape {shape!r}, which is no list of sizes")
    count = math.prod(shape)
    size = -(-count // 8)
    if bitmap.dtype != torch.uint8 or bitmap.shape != (size,):
        found = f"{str(bitmap.dtype).removeprefix('torch.')} {list(bitmap.shape)}"
        raise ValueError(f"the bitmap of {name!r} is {found}; the shape {shape} needs uint8 [{size}]")
    kept = (bitmap[:, None] >> torch.arange(8, dtype=torch.uint8) & 1).view(-1).bool()
    if kept[count:].any():
        raise ValueError(f"the bitmap of {name!r} has bits set after its {count} entries")
    stored = int(kept.sum())
    if values.shape != (stored,):
        raise ValueError(f"the values of {name!r} are {list(values.shape)}; its bitmap has {stored} bits set")
    entries = torch.zeros(count, values.itemsize, dtype=torch.uint8)
    entries[kept[:count]] = values.view(torch.uint8).view(stored, values.itemsize)
    return entries.view(values.dtype).view(shape)


def load(folder: str | Path) -> nn.Module:
    """The network in ``folder`` (``architecture.json``, ``model.safetensors``) on the CPU, in eval mode.

    It takes normalised inputs ``[N, ...]`` (see README.md beside it) and returns logits ``[N, classes]``.

    Raises:
        ValueError: a file is not what :func:`build` or :func:`read_tensors` takes.
    """
    folder = Path(folder)
    try:
        architecture = json.loads((folder / "architecture.json").read_text(encoding="utf-8"))
    except RecursionError:
        raise Refused(f"{folder / 'architecture.json'} is nested too deeply") from None
    return build(architecture, read_tensors(folder / "model.safetensors"))


class Predictor:
    """A network as MLflow's ``pyfunc`` takes it."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def predict(self, inputs: object, params: object = None) -> object:
        """Logits [N, classes] of normalised inputs [N, ...], numpy arrays both."""
        with torch.inference_mode():
            return self._network(torch.as_tensor(inputs, dtype=torch.float32)).numpy()

    def get_raw_model(self) -> nn.Module:
        return self._network


def _load_pyfunc(folder: str) -> Predictor:
    """Called by MLflow."""
    return Predictor(load(folder))


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
    network = load(folder)
    shape = json.loads((folder / "architecture.json").read_text(encoding="utf-8"))["input_shape"]
    with torch.no_grad():
        outputs = network(torch.zeros(1, *shape))
    print(
        f"{sum(tensor.numel() for tensor in network.parameters())} parameters; "
        f"inputs [N, {', '.join(map(str, shape))}] -> outputs [N, {', '.join(map(str, outputs.shape[1:]))}]"
    )


if __name__ == "__main__":
    main()
