from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import torch

from prune_search.errors import UserError
from prune_search.zoo.data import load_data

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def root(tmp_path, write_image):
    """Red cats and blue dogs, six of each in train, two of each in test; the files differ by their green."""
    for part, count in (("train", 6), ("test", 2)):
        for index in range(count):
            write_image(tmp_path / part / "cat" / f"{index}.png", (255, index, 0))
            write_image(tmp_path / part / "dog" / f"{index}.png", (0, index, 255))
    return tmp_path


def colours(split) -> set[tuple[int, ...]]:
    return {tuple(image[:, 0, 0].tolist()) for image in split.images}


def test_train_and_test_folders(root):
    data = load_data("folder", root=root, validation_size=4)
    assert data.classes == ("cat", "dog") and data.input_shape == (3, 4, 6) and len(data.train.labels) == 8
    for split in (data.train, data.validation, data.test()):
        assert torch.equal(split.images[:, 2, 0, 0] == 255, split.labels == 1)
    assert not colours(data.train) & colours(data.validation)
    assert colours(data.test()) == {(255, 0, 0), (255, 1, 0), (0, 0, 255), (0, 1, 255)}


def test_with_val_and_test_each_is_what_it_says(root, write_image):
    write_image(root / "val" / "cat" / "a.png", (200, 9, 9))
    write_image(root / "val" / "dog" / "a.png", (9, 9, 200))
    data = load_data("folder", root=root, validation_size=None)
    assert len(data.train.labels) == 12 and colours(data.validation) == {(200, 9, 9), (9, 9, 200)}
    assert len(data.test().labels) == 4 and (255, 1, 0) in colours(data.test())
    with pytest.raises(UserError, match="validation_size is 3; folder has 2 images"):
        load_data("folder", root=root, validation_size=3)


def test_tiny_imagenet_as_it_is_unpacked(tmp_path, write_image):
    for wnid, red in (("n01", 10), ("n02", 20)):
        for index in range(4):
            write_image(tmp_path / "train" / wnid / "images" / f"{wnid}_{index}.JPEG", (red, 0, 0))
    write_image(tmp_path / "val" / "images" / "val_0.JPEG", (20, 0, 0))
    (tmp_path / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t5\t5\n")
    write_image(tmp_path / "test" / "images" / "test_0.JPEG", (0, 0, 0))
    data = load_data("folder", root=tmp_path, validation_size=2)
    assert data.classes == ("n01", "n02") and len(data.train.labels) == 6
    assert data.test().labels.tolist() == [1]


def test_the_test_folder_is_not_read_before_it_is_asked_for(root):
    (root / "test" / "cat" / "0.png").write_bytes(b"broken")
    data = load_data("folder", root=root, validation_size=4)
    with pytest.raises(UserError, match="test/cat/0.png cannot be read as an image"):
        data.test()


def test_images_of_other_sizes_and_modes_are_brought_to_those_of_the_first(root, write_image):
    write_image(root / "train" / "dog" / "grey.png", 77, size=(30, 10), mode="L")
    data = load_data("folder", root=root, validation_size=1)
    assert data.input_shape == (3, 4, 6) and (77, 77, 77) in colours(data.train) | colours(data.validation)
    assert load_data("folder", root=root, validation_size=1, size=8).test().images.shape == (4, 3, 8, 8)


def test_grey_images_stay_grey_and_without_a_test_folder_some_are_cut_off(tmp_path, write_image):
    for name in ("a", "b"):
        for index in range(3):
            write_image(tmp_path / "train" / name / f"{index}.png", index, mode="L")
    data = load_data("folder", root=tmp_path, validation_size=1)
    assert data.input_shape == (1, 4, 6)
    assert data.test().images.shape == (1, 1, 4, 6) and len(data.train.labels) == 4


def test_a_broken_training_image_is_named(root):
    (root / "train" / "dog" / "3.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="train/dog/3.png cannot be read as an image"):
        load_data("folder", root=root, validation_size=4)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: (root / "train").rename(root / "training"), "no folder 'train' .found: test, training"),
        (lambda root: (root / "train" / "elk").mkdir(), "elk holds no image"),
        (
            lambda root: (root / "test" / "cat").rename(root / "test" / "cow"),
            "has the class 'cow', which train has not",
        ),
    ],
)
def test_layouts_that_do_not_work(root, make, said):
    make(root)
    with pytest.raises(UserError, match=said):
        load_data("folder", root=root, validation_size=4).test()


@pytest.mark.skipif(not (REAL_DATA / "cifar10-jpeg.tar.gz").is_file(), reason=f"no CIFAR-10 JPEG in {REAL_DATA}")
def test_the_cifar10_jpeg_set_or_its_first_images(tmp_path):
    kept: dict[str, int] = {}
    with tarfile.open(REAL_DATA / "cifar10-jpeg.tar.gz") as archive:
        for member in archive:
            folder = member.name.rpartition("/")[0]
            kept[folder] = kept.get(folder, 0) + 1
            if member.isfile() and kept[folder] <= 3:
                archive.extract(member, tmp_path, filter="data")
    data = load_data("folder", root=tmp_path, validation_size=5)
    assert (
        data.input_shape == (3, 32, 32) and data.classes[:2] == ("airplane", "automobile") and len(data.classes) == 10
    )
    assert data.test().labels.bincount().tolist() == [len(data.test().labels) // 10] * 10
