from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from prune_search.errors import UserError
from prune_search.zoo.data import load_data

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def test_packed_files_are_read_where_they_lie(idx_folder):
    before = sorted(idx_folder.rglob("*"))
    data = load_data("mnist", root=idx_folder, validation_size=5)
    assert data.name == "MNIST" and data.input_shape == (1, 2, 3) and data.classes[3] == "3 - three"
    both = torch.cat([data.train.images, data.validation.images])
    assert sorted(both[:, 0, 0, 0].tolist()) == list(range(20)) and (both == both[:, :, :1, :1]).all()
    labels = torch.cat([data.train.labels, data.validation.labels])
    assert torch.equal(labels, both[:, 0, 0, 0].long() % 10)
    assert data.test().labels.tolist() == [0, 1, 2, 3, 4]
    assert sorted(idx_folder.rglob("*")) == before


def test_unpacked_files_are_the_same_data(idx_folder):
    packed = load_data("MNIST", root=idx_folder, validation_size=5).fingerprint
    for path in (idx_folder / "MNIST" / "raw").iterdir():
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert load_data("MNIST", root=idx_folder, validation_size=5).fingerprint == packed


def test_the_test_part_is_not_read_before_it_is_asked_for(idx_folder, cache_folder):
    (idx_folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz").write_bytes(b"not an archive")
    data = load_data("MNIST", root=idx_folder, validation_size=5)
    assert [path.name.split("-")[1] for path in cache_folder.glob("*.safetensors")] == ["train"]
    with pytest.raises(UserError, match="t10k-images-idx3-ubyte.gz cannot be read"):
        data.test()


def test_files_that_do_not_belong_together(idx_folder):
    raw = idx_folder / "MNIST" / "raw"
    (raw / "train-labels-idx1-ubyte.gz").write_bytes((raw / "t10k-labels-idx1-ubyte.gz").read_bytes())
    with pytest.raises(UserError, match=r"shape \(20, 2, 3\).*\(5,\)"):
        load_data("MNIST", root=idx_folder, validation_size=5)


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10"])
def test_missing_files_that_cannot_be_downloaded(name, tmp_path):
    (tmp_path / "file").write_text("")  # no folder can be made in here, so no download begins
    with pytest.raises(UserError, match="could not be downloaded") as error:
        load_data(name, root=tmp_path / "file", validation_size=5)
    assert str(tmp_path / "file") in str(error.value) and "data.root" in str(error.value)


@pytest.mark.skipif(not (REAL_DATA / "MNIST").is_dir(), reason=f"the original MNIST is not in {REAL_DATA}")
def test_the_original_mnist():
    data = load_data("MNIST", root=REAL_DATA, validation_size=10_000)
    assert len(data.train.labels) == 50_000 and data.input_shape == (1, 28, 28)
    assert data.mean == pytest.approx((0.1307,), abs=1e-3) and data.std == pytest.approx((0.3081,), abs=1e-3)
    labels = torch.cat([data.train.labels, data.validation.labels])
    assert labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.test().labels[:5].tolist() == [7, 2, 1, 0, 4]
