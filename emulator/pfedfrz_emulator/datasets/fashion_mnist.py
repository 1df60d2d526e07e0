"""Fashion-MNIST: 60,000 + 10,000 pictures of clothes, 28 x 28, in MNIST's format."""

from __future__ import annotations

from pathlib import Path

from .cache import DatasetCache
from .dataset import Dataset
from .debian import DebianPackage
from .folder import IdxFolder
from .mirror import Mirror
from .published import PublishedDataset, PublishedFile, load_published

__all__ = ["FASHION_MNIST", "load_fashion_mnist"]

FASHION_MNIST = PublishedDataset(
    name="fashion-mnist",
    train_images=PublishedFile(
        "train-images-idx3-ubyte",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        3,
    ),
    train_labels=PublishedFile(
        "train-labels-idx1-ubyte",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        1,
    ),
    test_images=PublishedFile(
        "t10k-images-idx3-ubyte",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        3,
    ),
    test_labels=PublishedFile(
        "t10k-labels-idx1-ubyte",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        1,
    ),
    classes=10,
    mean=0.2860,
    std=0.3530,
)

DEBIAN_PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
MIRROR = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


def load_fashion_mnist(input_shape: tuple[int, ...] | None, cache_dir: Path) -> Dataset:
    """Fashion-MNIST as Debian installed it, else the cache, else apt, else a mirror."""
    return load_published(
        FASHION_MNIST,
        local=(IdxFolder(INSTALLED, f"Debian's {DEBIAN_PACKAGE}, installed"),),
        cache=DatasetCache(cache_dir / FASHION_MNIST.name),
        remote=(
            DebianPackage(DEBIAN_PACKAGE, str(INSTALLED.relative_to("/"))),
            Mirror(MIRROR),
        ),
        input_shape=input_shape,
    )
