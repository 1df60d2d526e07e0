"""One's own images, one folder for each label: `folder:PATH`, as a device's data may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedfrz_edge.data.image_decoding import NotAnImage, decode_image, shape_of_image
from pfedfrz_edge.data.image_files import ImageFile, find_images, find_labels, read_whole
from pfedfrz_edge.data.image_settings import ImageSettings
from pfedfrz_protocol import ConfigurationError

from .dataset import Dataset, pixel_statistics
from .stratified import stratified_rows

__all__ = ["load_own_images"]

_SPLIT_SEED = 20
_TEST_SHARE = 0.2
_MOST_BYTES = 4 << 30


def load_own_images(root: Path, input_shape: tuple[int, ...] | None) -> Dataset:
    """The images below `root`, brought to `input_shape` as on a device (see ImageFolder).

    Without an input shape they get that of the first image. A fifth of every label, always the
    same rows, is the test set. Files that are no images are left out, and the notes say how many.
    ConfigurationError names the folder and what is wrong with it.
    """
    labels, where = find_labels(root, ())
    if len(labels) < 2:
        raise ConfigurationError(f"{where}: {len(labels)} labels; want a folder for each of two")
    found = find_images(root, labels)
    files = sorted(found.files, key=lambda file: file.name)
    shape = _shape(root, files, input_shape)
    if len(files) * int(np.prod(shape)) > _MOST_BYTES:
        raise ConfigurationError(
            f"{root}: {len(files)} images of {shape} take more than {_MOST_BYTES >> 30} GiB"
        )
    x, y = _decoded(files, shape)
    counts = np.bincount(y, minlength=len(labels))
    if counts.min() < 2:
        few = labels[int(counts.argmin())]
        raise ConfigurationError(
            f"{root}: label {few!r} has {counts.min()} images; want two or more"
        )
    test = stratified_rows(y, _TEST_SHARE, _SPLIT_SEED)
    train = np.setdiff1d(np.arange(len(y)), test)
    mean, std = pixel_statistics(x[train])
    skipped = len(found.skipped) + len(files) - len(y)
    return Dataset(
        name=f"folder:{root}",
        train_x=x[train],
        train_y=y[train],
        test_x=x[test],
        test_y=y[test],
        classes=len(labels),
        source=str(root),
        mean=mean,
        std=std,
        notes=(
            f"{len(test)} of {len(y)} images were set apart as the test set",
            *(
                [f"{skipped} files were left out, which are no images of a label"]
                if skipped
                else []
            ),
        ),
    )


def _shape(
    root: Path, files: list[ImageFile], input_shape: tuple[int, ...] | None
) -> tuple[int, int, int]:
    if input_shape is not None:
        if len(input_shape) != 3 or input_shape[0] not in (1, 3):
            raise ConfigurationError(
                f"dataset folder:{root}: images are (1 or 3, height, width), the model takes "
                f"{input_shape}"
            )
        return input_shape[0], input_shape[1], input_shape[2]
    for file in files:
        try:
            return shape_of_image(read_whole(file) or b"")
        except NotAnImage:
            continue
    raise ConfigurationError(f"{root}: there is no image in the folders of its labels")


def _decoded(
    files: list[ImageFile], shape: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    settings = ImageSettings()
    images, labels = [], []
    for file in files:
        try:
            pixels = decode_image(
                read_whole(file) or b"", shape, settings.fit, settings.max_megapixels * 1e6
            )
        except NotAnImage:
            continue
        images.append(pixels)
        labels.append(file.label)
    x = np.stack(images) if images else np.zeros((0, *shape), np.uint8)
    return x, np.array(labels, np.int64)
