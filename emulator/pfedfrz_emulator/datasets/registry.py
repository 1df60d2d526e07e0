"""Datasets by the name that a person gives."""

from __future__ import annotations

from pathlib import Path

from pfedfrz_protocol import ConfigurationError

from .cache import default_cache_dir
from .dataset import Dataset
from .digits import load_digits
from .emnist import EMNIST, load_emnist
from .fashion_mnist import load_fashion_mnist
from .mnist import load_mnist
from .own_arrays import load_own_arrays
from .own_images import load_own_images
from .remote_archive import Progress

__all__ = ["DATASETS", "check_dataset_name", "load_dataset"]

DATASETS = ("mnist", "fashion-mnist", *EMNIST, "digits", "npz:PATH", "folder:PATH")
"""What `--dataset` takes; after a name of EMNIST may stand `:PATH`, where its files are."""

_OWN = {"npz": load_own_arrays, "folder": load_own_images}
"""One's own data, by what stands before its path."""


def check_dataset_name(name: str) -> None:
    """ConfigurationError, listing the names, unless `load_dataset` knows the name.

    Lets a command refuse a misspelt name before it starts anything.
    """
    published, _, place = name.partition(":")
    if (name in DATASETS and not place) or (published in (*_OWN, *EMNIST) and place):
        return
    raise ConfigurationError(f"unknown dataset {name!r}; the datasets are: {', '.join(DATASETS)}")


def load_dataset(
    name: str,
    *,
    input_shape: tuple[int, ...] | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The named dataset with samples of `input_shape`, the shape of one model input.

    `cache_dir` replaces the user's cache; `progress` is told of large downloads. Raises
    ConfigurationError for an unknown name, a dataset that cannot be had here, a damaged file, or
    images that cannot be fitted to the model.
    """
    check_dataset_name(name)
    cache = cache_dir or default_cache_dir()
    published, _, place = name.partition(":")
    if published in _OWN:
        return _OWN[published](Path(place).expanduser(), input_shape)
    if published in EMNIST:
        given = Path(place).expanduser() if place else None
        return load_emnist(published, input_shape, cache, place=given, progress=progress)
    if name == "mnist":
        return load_mnist(input_shape, cache)
    if name == "fashion-mnist":
        return load_fashion_mnist(input_shape, cache)
    return load_digits(input_shape)
