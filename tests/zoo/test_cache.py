from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from prune_search.zoo.data import load_data

LOAD = """
import sys
from prune_search.zoo.data import load_data
print(load_data("folder", root=sys.argv[1], validation_size=5).fingerprint)
"""


def test_two_processes_at_once_agree_and_leave_one_whole_file(tmp_path, write_image, cache_folder):
    for index in range(40):
        write_image(tmp_path / "images" / "train" / f"class{index % 2}" / f"{index}.png", (index, 0, 0))
    command = [sys.executable, "-c", LOAD, str(tmp_path / "images")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    prints = {process.communicate()[0] for process in processes}
    assert len(prints) == 1 and len(prints.pop()) == 65 and all(process.returncode == 0 for process in processes)
    assert len(list(cache_folder.glob("*.safetensors"))) == 1 and not list(cache_folder.glob("*.tmp"))


def test_what_is_cached_is_read_back_alike_and_mapped(idx_folder, cache_folder):
    first = load_data("MNIST", root=idx_folder, validation_size=5)
    (file,) = cache_folder.glob("*.safetensors")
    written = file.stat().st_mtime_ns
    second = load_data("mnist", root=idx_folder, train_size=3, validation_size=5)
    assert file.stat().st_mtime_ns == written and list(cache_folder.glob("*.safetensors")) == [file]
    assert torch.equal(first.train.images[:3], second.train.images) and first.classes == second.classes


def test_cached_digits_are_read_without_scikit_learn(cache_folder):
    load = "from prune_search.zoo.data import load_data; data = load_data('digits', root='.', validation_size=300); "
    ask = load + "import sys; print(data.fingerprint, 'sklearn' in sys.modules)"
    found = [subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True).stdout.split() for _ in "ab"]
    assert found[0][0] == found[1][0] == load_data("digits", root=".", validation_size=300).fingerprint
    assert [imported for _, imported in found] == ["True", "False"]


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="no list of mapped files on this system")
def test_cached_images_are_mapped_and_train_and_validation_are_views(idx_folder, cache_folder):
    data = load_data("MNIST", root=idx_folder, validation_size=5)
    (file,) = cache_folder.glob("*.safetensors")
    assert str(file) in Path("/proc/self/maps").read_text()
    assert data.train.images.data_ptr() == data.validation.images.data_ptr() + data.validation.images.nbytes


def test_changed_files_and_seeds_are_decoded_anew(idx_folder, cache_folder):
    load_data("MNIST", root=idx_folder, validation_size=5)
    load_data("MNIST", root=idx_folder, validation_size=5, split_seed=1)
    os.utime(idx_folder / "MNIST" / "raw" / "train-labels-idx1-ubyte.gz", (1, 1))
    load_data("MNIST", root=idx_folder, validation_size=5)
    assert len(list(cache_folder.glob("*.safetensors"))) == 3


@pytest.mark.parametrize("content", [b"cut", save({"images": torch.zeros(1), "labels": torch.zeros(1)})])
def test_a_damaged_cache_file_is_replaced(idx_folder, cache_folder, content):
    good = load_data("MNIST", root=idx_folder, validation_size=5).fingerprint
    (file,) = cache_folder.glob("*.safetensors")
    file.write_bytes(content)
    assert load_data("MNIST", root=idx_folder, validation_size=5).fingerprint == good
    assert file.stat().st_size > 200


def test_without_a_writable_cache_the_images_are_still_read(idx_folder, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PRUNE_SEARCH_CACHE", str(tmp_path / "file" / "cache"))
    data = load_data("MNIST", root=idx_folder, validation_size=5)
    assert len(data.train.labels) == 15 and len(data.test().labels) == 5
    assert "cannot be written" in caplog.text
