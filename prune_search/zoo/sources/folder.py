"""Image folders: ``train/<class>/*`` beside ``val`` and/or ``test``, and Tiny-ImageNet as it is unpacked."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from prune_search.errors import UserError
from prune_search.zoo.decoded import Decoded, Form, Source
from prune_search.zoo.sources.images import decode_files, open_image, shape_for

ANNOTATIONS = "val_annotations.txt"  # Tiny-ImageNet: lines of file name, class and a box, separated by tabs
EXTENSIONS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".ppm",
    ".bmp",
    ".pgm",
    ".tif",
    ".tiff",
    ".webp",
)  # torchvision's ImageFolder
LAYOUT = "root/train/<class>/*.jpg, and root/val/<class>/* or root/test/<class>/* or both"


def source(root: Path, size: int | None) -> Source:
    """A folder of images. With val and test each is what it says; a single one of them is the test part.

    Raises:
        UserError: there is no ``train`` folder with a folder for each class.
    """
    train = root / "train"
    if not train.is_dir():
        found = ", ".join(sorted(p.name for p in root.iterdir())[:10]) if root.is_dir() else "no such folder"
        raise UserError(f"data.root {root} has no folder 'train' (found: {found or 'nothing'}). Expected {LAYOUT}.")
    classes = _classes(train)
    val = next((root / n for n in ("val", "valid", "validation") if (root / n).is_dir()), None)
    test = root / "test" if (root / "test").is_dir() and not _unlabelled(root / "test", classes) else None
    folders = {"train": train, "validation": val if test else None, "test": test or val}
    folders = {part: folder for part, folder in folders.items() if folder}
    decode = functools.partial(_decode, folders, classes, size)
    return Source("folder", tuple(folders), decode, size, folders)


def _decode(
    folders: dict[str, Path], classes: tuple[str, ...], size: int | None, part: str, like: Form | None
) -> Decoded:
    samples = _samples(folders[part], classes)
    shape = like.shape if like else shape_for(open_image(samples[0][0]), size)
    images = decode_files([path for path, _ in samples], shape)
    return Decoded(images, torch.tensor([classes.index(name) for _, name in samples]), classes)


def _samples(folder: Path, classes: tuple[str, ...]) -> list[tuple[Path, str]]:
    """(file, class) of all images, in the order of their paths."""
    if (folder / ANNOTATIONS).is_file():
        lines = (folder / ANNOTATIONS).read_text().splitlines()
        samples = [(folder / "images" / line.split("\t")[0], line.split("\t")[1]) for line in lines if "\t" in line]
    else:
        paths = {name: _images(folder / name) for name in _classes(folder)}
        if empty := [name for name, inside in paths.items() if not inside]:
            raise UserError(
                f"{folder / empty[0]} holds no image ({', '.join(EXTENSIONS)}). Add some or delete the folder."
            )
        samples = [(path, name) for name, inside in paths.items() for path in inside]
    if unknown := sorted({name for _, name in samples} - set(classes)):
        raise UserError(
            f"{folder} has the class '{unknown[0]}', which train has not. Its classes: "
            f"{', '.join(classes[:10])}{', ...' if len(classes) > 10 else ''}. Rename or delete it."
        )
    if not samples:
        raise UserError(f"{folder} holds no labelled image. Expected {LAYOUT}.")
    return samples


def _classes(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if not names:
        raise UserError(f"{folder} has no folders, one for each class. Expected {LAYOUT}.")
    return names


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and not p.name.startswith("."))


def _unlabelled(test: Path, classes: tuple[str, ...]) -> bool:
    """Tiny-ImageNet's test part: all files in one folder ``images``, without labels."""
    inside = [p.name for p in test.iterdir() if p.is_dir()]
    return inside in ([], ["images"]) and "images" not in classes
