"""The four idx files of a published dataset, from whichever source has them.

Sources are tried in order. What a source delivers is checked against the digests below it before
anything is parsed, so it does not matter which one answered: the bytes are the same everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError

from .dataset import Dataset
from .fitting import fit_images
from .idx import parse_idx

__all__ = ["PublishedDataset", "PublishedFile", "Source", "SourceUnavailable", "load_published"]


class SourceUnavailable(Exception):
    """A source cannot deliver; the message says why, and the next one is tried."""


@dataclass(frozen=True)
class PublishedFile:
    """One idx file: its published name and the sha256 of its unpacked content."""

    name: str
    sha256: str
    dimensions: int


@dataclass(frozen=True)
class PublishedDataset:
    """A dataset of fixed, published content."""

    name: str
    train_images: PublishedFile
    train_labels: PublishedFile
    test_images: PublishedFile
    test_labels: PublishedFile
    classes: int
    mean: float
    std: float

    @property
    def files(self) -> tuple[PublishedFile, ...]:
        """The four files."""
        return (self.train_images, self.train_labels, self.test_images, self.test_labels)


class Source(Protocol):
    """A place that may have the files."""

    @property
    def label(self) -> str:
        """What the report and an error message call it."""

    def fetch(self, files: Sequence[PublishedFile]) -> Mapping[str, bytes]:
        """Unpacked content by file name; SourceUnavailable when it cannot be had here."""


class Store(Source, Protocol):
    """A source that also keeps what another source delivered."""

    def store(self, contents: Mapping[str, bytes]) -> None:
        """Keep the contents, by file name."""


def load_published(
    dataset: PublishedDataset,
    *,
    local: Sequence[Source],
    cache: Store,
    remote: Sequence[Source],
    input_shape: tuple[int, ...] | None,
) -> Dataset:
    """The dataset from the first source whose files have the published digests.

    Local sources come first and are not copied, then the cache, then the remote ones, whose files
    are put into the cache. Raises ConfigurationError, with every source and its fault, when none
    delivers.
    """
    faults: list[str] = []
    for source in (*local, cache, *remote):
        try:
            contents = source.fetch(dataset.files)
            _check_digests(dataset.files, contents)
        except SourceUnavailable as fault:
            faults.append(f"{source.label} ({fault})")
            continue
        notes = _keep(cache, contents) if source in remote else ()
        return _parse(dataset, contents, source.label, notes, input_shape)
    raise ConfigurationError(
        f"dataset {dataset.name} cannot be had here; tried " + "; ".join(faults) + ". "
        "--dataset digits always works"
    )


def _check_digests(files: Sequence[PublishedFile], contents: Mapping[str, bytes]) -> None:
    for file in files:
        if file.name not in contents:
            raise SourceUnavailable(f"{file.name} is missing")
        if hashlib.sha256(contents[file.name]).hexdigest() != file.sha256:
            raise SourceUnavailable(f"{file.name} has another sha256 than the published file")


def _keep(cache: Store, contents: Mapping[str, bytes]) -> tuple[str, ...]:
    try:
        cache.store(contents)
    except SourceUnavailable as fault:
        # A read-only home directory is no reason not to train.
        return (f"not kept in {cache.label}: {fault}",)
    return ()


def _parse(
    dataset: PublishedDataset,
    contents: Mapping[str, bytes],
    label: str,
    notes: tuple[str, ...],
    input_shape: tuple[int, ...] | None,
) -> Dataset:
    def array(file: PublishedFile) -> NDArray[np.uint8]:
        return parse_idx(contents[file.name], file.name, file.dimensions)

    train_x, fitting = fit_images(array(dataset.train_images)[:, None], input_shape, dataset.name)
    test_x, _ = fit_images(array(dataset.test_images)[:, None], input_shape, dataset.name)
    return Dataset(
        name=dataset.name,
        train_x=train_x,
        train_y=array(dataset.train_labels).astype(np.int64),
        test_x=test_x,
        test_y=array(dataset.test_labels).astype(np.int64),
        classes=dataset.classes,
        source=label,
        mean=dataset.mean,
        std=dataset.std,
        notes=notes + fitting,
    )
