"""A published dataset small enough to make in a test."""

from __future__ import annotations

import gzip
import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pfedfrz_emulator.datasets.published import PublishedDataset, PublishedFile


def idx(array: NDArray[np.uint8]) -> bytes:
    """The idx content of an array, written independently of the reader."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


@dataclass(frozen=True)
class Tiny:
    """Twelve training and four test images of 4 x 4 with three labels."""

    dataset: PublishedDataset
    contents: dict[str, bytes]
    train_x: NDArray[np.uint8]
    train_y: NDArray[np.uint8]

    def write(self, directory: Path, *, packed: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in self.contents.items():
            path = directory / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(content) if packed else content)


@pytest.fixture
def tiny() -> Tiny:
    random = np.random.default_rng(5)
    train_x = random.integers(0, 256, (12, 4, 4), np.uint8)
    train_y = np.arange(12, dtype=np.uint8) % 3
    test_x = random.integers(0, 256, (4, 4, 4), np.uint8)
    test_y = np.array([0, 1, 2, 0], np.uint8)
    contents = {
        "train-images": idx(train_x),
        "train-labels": idx(train_y),
        "test-images": idx(test_x),
        "test-labels": idx(test_y),
    }
    files = [
        PublishedFile(name, hashlib.sha256(content).hexdigest(), 3 if "images" in name else 1)
        for name, content in contents.items()
    ]
    dataset = PublishedDataset(
        name="tiny",
        train_images=files[0],
        train_labels=files[1],
        test_images=files[2],
        test_labels=files[3],
        classes=3,
        mean=0.5,
        std=0.25,
    )
    return Tiny(dataset, contents, train_x, train_y)
