from __future__ import annotations

import pytest

from prune_search.errors import UserError
from prune_search.zoo.data import load_data


@pytest.fixture
def root(tmp_path, write_image):
    """Imagenette's layout: JPEG folders by WordNet number, parts called train and val."""
    for part, count in (("train", 5), ("val", 2)):
        for wnid, red in (("n01440764", 0), ("n02102040", 250)):
            for index in range(count):
                write_image(tmp_path / "imagenette2" / part / wnid / f"{index}.JPEG", (red, 0, 0), size=(12, 8))
    return tmp_path


def test_a_set_of_torchvision_by_name(root):
    data = load_data("imagenette", root=root, validation_size=4)
    assert data.name == "Imagenette" and data.input_shape == (3, 8, 12) and data.classes[0] == "tench"
    assert len(data.train.labels) == 6 and data.test().labels.tolist() == [0, 0, 1, 1]
    for split in (data.train, data.validation, data.test()):
        assert ((split.images[:, 0, 0, 0] > 125) == (split.labels == 1)).all()


def test_images_are_resized_on_demand_and_broken_ones_named(root):
    (root / "imagenette2" / "val" / "n01440764" / "1.JPEG").write_bytes(b"broken")
    data = load_data("Imagenette", root=root, validation_size=4, size=6)
    assert data.train.images.shape == (6, 3, 6, 6)
    with pytest.raises(UserError, match="Image 1 of Imagenette .test. in .* cannot be read"):
        data.test()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("CocoCaptions", "needs more than a folder: .*annFile.*package.module:function"),
        ("EMNIST", "EMNIST has no part called train or trainval. Load it in a function of your own"),
        ("FakeData", "'FakeData' is unknown"),
    ],
)
def test_sets_that_cannot_be_used(root, name, said):
    with pytest.raises(UserError, match=said):
        load_data(name, root=root, validation_size=4)
