"""What a device trains on and is measured on, growing while it runs."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np

from pfedfrz_protocol import InputSpec, LossSpec

from .address import SourceAddress, SourceKind, parse_address
from .labelled import LocalData
from .settings import DataSettings
from .source import Hashes, Source
from .watched import WatchedSource

__all__ = ["DeviceData", "open_device_data", "open_source"]

log = logging.getLogger(__name__)


def open_source(
    address: SourceAddress, spec: InputSpec, loss: LossSpec, settings: DataSettings
) -> Source:
    """The source at that address; ConfigurationError where it cannot be one for this model."""
    most = settings.max_samples
    if address.kind is SourceKind.FACTORY:
        from .factory import Factory

        return Factory(address, spec, loss, most)
    path = Path(address.place)
    if address.kind is SourceKind.FOLDER:
        from .image_folder import ImageFolder

        return ImageFolder(path, spec, loss, settings.images, most)
    if address.kind is SourceKind.CSV:
        from .csv_table import CsvTable

        return CsvTable(path, spec, loss, settings.csv, most)
    from .npz import NpzFile

    return NpzFile(path, spec, loss, most)


def open_device_data(settings: DataSettings, spec: InputSpec, loss: LossSpec) -> DeviceData:
    """The sources of a device, read once; ConfigurationError, one line, for what does not fit."""

    def opened(text: str) -> WatchedSource:
        return WatchedSource(open_source(parse_address(text), spec, loss, settings))

    test = None if settings.test is None else opened(settings.test)
    return DeviceData(opened(settings.train), test, spec.classes, settings.hold_out)


class DeviceData:
    """The samples of a device as its sources have them (see DataFeed)."""

    def __init__(
        self,
        train: WatchedSource,
        test: WatchedSource | None,
        classes: int,
        hold_out: float = 0.0,
    ) -> None:
        """`hold_out` is the share of `train` that is measured on where there is no `test`."""
        self._train = train
        self._test = test
        self._classes = classes
        self._hold_out = hold_out
        self._lock = threading.Lock()
        self._current = self._made()
        log.info("%s: %s", train.name, _described(self._current))
        if not len(self._current.train):
            log.warning("%s: no samples yet; waiting for the first", train.name)

    def latest(self) -> LocalData:
        """Look at the sources, and what there is now; the arrays of before are not changed."""
        with self._lock:
            looks = [source.look() for source in (self._train, self._test) if source]
            if any(looks):
                before, self._current = _described(self._current), self._made()
                if before != _described(self._current):
                    log.info("%s: %s", self._train.name, _described(self._current))
            return self._current

    def _made(self) -> LocalData:
        reading = self._train.reading
        test = None if self._test is None else self._test.reading.data
        if not self._hold_out:
            return LocalData(reading.data, test, self._classes)
        out = held_out(reading.identities(), self._hold_out)
        return LocalData(reading.data.rows(~out), reading.data.rows(out), self._classes)


def held_out(identities: Hashes, share: float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which samples are measured on, `(samples,)`: those whose hash is in the lowest `share`.

    A matter of each sample alone: whatever is added or taken away, no other changes sides, and the
    same content is never on both.
    """
    return identities < np.uint64(int(share * 2.0**64))


def _described(data: LocalData) -> str:
    test = f", {len(data.test)} to be measured on" if data.test is not None else ""
    return f"{len(data.train)} samples to train on{test}"
