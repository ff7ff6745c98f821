from __future__ import annotations

import pytest
import torch

from prune_search.errors import UserError
from prune_search.zoo.data import load_data

HEAD = "import torch, numpy as np\nx, y = torch.arange(40).reshape(10, 4).float(), torch.arange(10) % 3\n"


def load(user_module, body: str, signature: str = "", **changes):
    name = user_module(f"{HEAD}def build({signature}):\n    {body}\n")
    return load_data(f"{name}:build", **({"root": "here", "validation_size": 2} | changes))


def test_a_pair_of_pairs(user_module):
    data = load(user_module, "return (x, y), (x[:3], y[:3])")
    assert data.input_shape == (4,) and data.classes == ("0", "1", "2") and len(data.mean) == 4
    assert len(data.train.labels) == 8 and torch.equal(data.test().labels, torch.arange(3))
    assert data.inputs(data.train.images).mean(0).abs().max() < 1e-6


def test_a_mapping_of_numpy_arrays_with_its_own_validation_and_classes(user_module):
    body = (
        "i = np.arange(40, dtype=np.uint8).reshape(10, 2, 2); l = np.arange(10) % 3\n"
        "    return "
        "{'train': (i, l), 'validation': (i[:4], l[:4]), 'test': (i, l), 'classes': ['a', 'b', 'c', 'd']}"
    )
    data = load(user_module, body, validation_size=None)
    assert data.input_shape == (1, 2, 2) and data.classes == ("a", "b", "c", "d")
    assert len(data.train.labels) == 10 and len(data.validation.labels) == 4


def test_without_a_test_part_fifteen_percent_are_cut_off(user_module):
    data = load(user_module, "return {'train': (x, y)}")
    assert len(data.test().labels) == 1 and len(data.train.labels) == 7


def test_the_function_gets_what_it_takes_and_all_options(user_module):
    body = "assert (root, validation_size, k) == ('here', 2, 5); return (x, y), (x, y)"
    load(user_module, body, "root, validation_size, k=1", options={"k": 5})
    with pytest.raises(UserError, match="unexpected keyword argument 'k'"):
        load(user_module, "return (x, y), (x, y)", options={"k": 5})


def test_a_data_of_the_users_own_is_taken_as_it_is(user_module):
    body = (
        "from prune_search.zoo.data import Data, Split\n"
        "    return Data('mine', ('a', 'b', 'c'), (4,), (0.,) * 4, (1.,) * 4, 'f', Split(x, y), Split(x, y), "
        "read_test=lambda: Split(x, y))"
    )
    assert load(user_module, body, validation_size=None).fingerprint == "f"
    with pytest.raises(UserError, match="validation_size is 2, but .* returned a Data with 10"):
        load(user_module, body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return None", "returned a NoneType. Return a Data, or"),
        ("return x", "returned a Tensor"),
        ("return {'tran': (x, y)}", "returned the key 'tran'; allowed are train, validation, test, classes"),
        ("return {'test': (x, y)}", "returned no 'train', only 'test'"),
        ("return {'train': (x[:2], y[:2])}", "has 1 images for train and validation; give two or more"),
        ("return x, y", "train is a Tensor, not a pair"),
        ("return ([1], y), (x, y)", "train holds a list, not a tensor"),
        ("return (x, y[:5]), (x, y)", r"shape \[10, 4\] and labels \[5\]"),
        ("return (x[:0], y[:0]), (x, y)", r"shape \[0, 4\] and labels \[0\]"),
        ("return (x, y), (x[:, :2], y)", r"test: one image is \[2\] torch.float32, in train \[4\]"),
        ("return (x, y), (x, y + 1)", "test: labels go from 1 to 3; with 3 classes they must lie in 0 to 2"),
        ("return (x, y - 1), (x, y)", "train: labels go from -1 to 1"),
        ("return (x, y.float()), (x, y)", "labels are torch.float32; give integers"),
        ("return (x.long(), y), (x, y)", "images are torch.int64; give uint8"),
        ("return (x / 0, y), (x, y)", "train: images hold NaN or infinity"),
        ("raise RuntimeError('disk gone')", "raised RuntimeError: disk gone"),
    ],
)
def test_what_is_refused(user_module, body, said):
    with pytest.raises(UserError, match=said):
        load(user_module, body)
