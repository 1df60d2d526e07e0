"""Samples in a folder of images with one folder for each label: `folder:PATH`.

Only files that are new are unpacked; pixels are kept as bytes between readings, so the second copy
beside the float32 samples is a quarter of them.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, InputSpec, LossKind, LossSpec
from pfedfrz_protocol.one_line import one_line

from ..runtimes import Labels
from .file_state import FileState
from .image_files import Found, ImageFile, find_images, label_names, read_whole
from .image_settings import ImageSettings
from .labelled import LabelledData
from .scaling import spread
from .source import Reading, most_samples

__all__ = ["ImageFolder"]

log = logging.getLogger(__name__)

_MOST_LINES = 5
"""So many skipped files are named at a look; the others are counted."""


@dataclass(frozen=True)
class _Kept:
    """What came out of a file in this state."""

    state: FileState
    pixels: NDArray[np.uint8]
    identity: int


class ImageFolder:
    """A folder, of which files may come and go."""

    def __init__(
        self,
        root: Path,
        spec: InputSpec,
        loss: LossSpec,
        settings: ImageSettings,
        max_samples: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """ConfigurationError for a model that takes no images and for a missing Pillow."""
        self.name = str(root)
        self._root = root
        self._shape = _image_shape(root, spec)
        self._labels = _wanted_labels(root, spec, loss)
        self._loss = loss
        self._settings = settings
        self._most = most_samples(spec, max_samples)
        self._clock = clock
        self._table = _levels(settings, self._shape[0])
        self._kept: dict[str, _Kept] = {}
        self._faults: dict[str, FileState] = {}
        self._skipped: dict[str, str] = {}
        self._is_settled = True
        _require_pillow()

    @property
    def skipped(self) -> dict[str, str]:
        """Why, by name, of what is there and was not taken at the last reading."""
        return dict(self._skipped)

    def signature(self) -> bytes:
        """A digest of all names, sizes and times."""
        rows = sorted((file.name, file.state) for file in self._find().files)
        return hashlib.sha256(repr(rows).encode(errors="surrogateescape")).digest()

    def read(self) -> Reading:
        """The newest files that can be read, in the order of their names (see Source)."""
        found = self._find()
        skipped = dict(found.skipped)
        # The newest first, so that what there is no room for is never unpacked.
        files = sorted(found.files, key=lambda f: (f.state.written_ns, f.name), reverse=True)
        kept: dict[str, _Kept] = {}
        labels: dict[str, int] = {}
        self._is_settled = True
        for file in files:
            if len(kept) == self._most:
                break
            taken = self._take(file, skipped)
            if taken is not None:
                kept[file.name], labels[file.name] = taken, file.label
        self._kept = kept
        self._faults = {file.name: file.state for file in files if file.name in skipped}
        self._say(skipped)
        names = sorted(kept)
        identities = np.array([kept[name].identity for name in names], np.uint64)
        y = np.array([labels[name] for name in names], np.int64)
        data = LabelledData(self._samples([kept[name].pixels for name in names]), self._shaped(y))
        return Reading(data, lambda: identities, self._is_settled)

    def _find(self) -> Found:
        labels = label_names(self._root, self._settings.labels, self._labels)
        return find_images(self._root, labels)

    def _take(self, file: ImageFile, skipped: dict[str, str]) -> _Kept | None:
        from .image_decoding import NotAnImage, decode_image

        before = self._kept.get(file.name)
        if before is not None and before.state == file.state:
            return before
        if self._faults.get(file.name) == file.state:
            skipped[file.name] = self._skipped[file.name]
            return None
        content = read_whole(file)
        if content is None:
            self._is_settled = False
            return None
        settings = self._settings
        try:
            pixels = decode_image(content, self._shape, settings.fit, settings.max_megapixels * 1e6)
        except NotAnImage as error:
            if file.state.is_fresh(self._clock()):
                self._is_settled = False  # it may be whole the next time
            else:
                skipped[file.name] = str(error)
            return None
        # Of the content alone: an image that is moved to another label stays the same sample.
        digest = hashlib.blake2b(content, digest_size=8).digest()
        return _Kept(file.state, pixels, int.from_bytes(digest, "little"))

    def _say(self, skipped: dict[str, str]) -> None:
        """A line for each file that is skipped for the first time, up to a few."""
        new = [name for name, why in sorted(skipped.items()) if self._skipped.get(name) != why]
        self._skipped = skipped
        for name in new[:_MOST_LINES]:
            log.warning("%s: skipped %s: %s", self.name, one_line(name, 200),
                        one_line(skipped[name], 200))  # fmt: skip
        if len(new) > _MOST_LINES:
            log.warning("%s: skipped %d more; %d in all", self.name, len(new) - _MOST_LINES,
                        len(skipped))  # fmt: skip

    def _samples(self, pixels: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        x = np.empty((len(pixels), *self._shape), np.float32)
        for row, image in zip(x, pixels, strict=True):
            for channel, table in enumerate(self._table):
                row[channel] = table[image[channel]]
        return x

    def _shaped(self, y: NDArray[np.int64]) -> Labels:
        return y if self._loss.has_classes else y.astype(np.float32)[:, None]


def _image_shape(root: Path, spec: InputSpec) -> tuple[int, int, int]:
    shape = spec.shape
    if len(shape) != 3 or shape[0] not in (1, 3) or spec.tokens is not None:
        raise ConfigurationError(
            f"{root}: images have shape (1 or 3, height, width), the bundle's model takes {shape}"
        )
    return shape[0], shape[1], shape[2]


def _wanted_labels(root: Path, spec: InputSpec, loss: LossSpec) -> int:
    """How many folders: one for each class, and two for a single yes or no."""
    if loss.has_classes:
        return spec.classes
    if loss.kind is LossKind.BINARY_CROSS_ENTROPY and spec.classes == 1:
        return 2
    raise ConfigurationError(
        f"{root}: a folder says one label for each image, the bundle's loss {loss.kind.value} "
        f"wants {spec.classes} numbers; use an .npz file or a factory"
    )


def _levels(settings: ImageSettings, channels: int) -> NDArray[np.float32]:
    """`(channels, 256)`: what becomes of every pixel value."""
    mean = spread("[data.images]", "mean", settings.mean, channels, "channels")
    std = spread("[data.images]", "std", settings.std, channels, "channels")
    levels = np.arange(256, dtype=np.float64) / 255.0
    return ((levels[None] - mean[:, None]) / std[:, None]).astype(np.float32)


def _require_pillow() -> None:
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"a folder of images needs Pillow ({error}); run: pip install 'pfedfrz[images]'"
        ) from error
