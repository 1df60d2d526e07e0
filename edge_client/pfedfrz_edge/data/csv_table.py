"""Samples in a table of text, one on a line: `csv:PATH`.

What was read is not read again: of a file whose beginning is still the same bytes only the lines
behind it are parsed, so that a log of readings costs a round what came since the last one.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pfedfrz_protocol import ConfigurationError, InputSpec, LossSpec
from pfedfrz_protocol.one_line import one_line

from .checks import checked
from .csv_row import BadRow, Columns, RowReader, split_line
from .csv_settings import BadRows, CsvSettings
from .file_state import FileState, state_of
from .scaling import spread
from .source import Reading, hashes, most_samples

__all__ = ["CsvTable"]

log = logging.getLogger(__name__)

_LONGEST_LINE = 1 << 20
_BLOCK_NUMBERS = 1 << 18
"""As Python's floats a number takes eight times the room that it has in an array."""
_MOST_LINES = 5
"""So many bad rows are named at a look; the others are counted."""


_Row = tuple[list[float], list[float], bytes]
"""Features, labels, and what the sample is known by."""


@dataclass
class _Progress:
    """How far a file has been read, and the newest samples of it."""

    offset: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    """Of the bytes before the offset."""
    lines: int = 0
    columns: Columns | None = None
    blocks: list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint64]]] = field(
        default_factory=list
    )
    bad: int = 0
    ends_open: bool = False
    """Whether the last line had no end: what follows may belong to it."""


class CsvTable:
    """A table, to which lines may be added."""

    def __init__(
        self,
        path: Path,
        spec: InputSpec,
        loss: LossSpec,
        settings: CsvSettings,
        max_samples: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """ConfigurationError for settings that the model cannot be fed with."""
        self.name = str(path)
        self._path = path
        self._spec = spec
        self._loss = loss
        self._settings = settings
        self._reader = RowReader(spec, loss, settings.labels)
        self._most = most_samples(spec, max_samples)
        self._clock = clock
        wanted = 1 if loss.has_classes else spec.classes
        if len(settings.label_columns) != wanted:
            raise ConfigurationError(
                f"{path}: [data.csv] label names {len(settings.label_columns)} columns, "
                f"the bundle's loss {loss.kind.value} wants {wanted}"
            )
        if settings.labels and loss.has_classes and len(settings.labels) != spec.classes:
            raise ConfigurationError(
                f"{path}: [data.csv] labels has {len(settings.labels)} names, "
                f"the bundle's model knows {spec.classes}"
            )
        features = math.prod(spec.shape)
        self._mean = spread("[data.csv]", "mean", settings.mean, features, "features")
        self._std = spread("[data.csv]", "std", settings.std, features, "features")
        self._progress = _Progress()

    @property
    def bad_rows(self) -> int:
        """How many rows were skipped so far."""
        return self._progress.bad

    def signature(self) -> FileState:
        """The file's size and when it was written."""
        return state_of(self._path)

    def read(self) -> Reading:
        """The newest rows (see Source); a last line that is still written is left."""
        state = state_of(self._path)
        before, self._progress = self._progress, _Progress()  # where this fails, all is read anew
        try:
            with self._path.open("rb") as file:
                goes_on = not before.ends_open and _begins_alike(file, before)
                progress = before if goes_on else _Progress()
                file.seek(progress.offset)
                is_whole = self._read_lines(file, progress, state.is_fresh(self._clock()))
        except OSError as error:
            raise ConfigurationError(f"{self._path}: cannot be read: {error.strerror}") from error
        self._progress = progress
        x, y, identities = self._joined(progress)
        data = checked(x.reshape(-1, *self._spec.shape), y, self._spec, self._loss, self.name)
        return Reading(data, lambda: identities, is_whole and state_of(self._path) == state)

    def _read_lines(self, file: BinaryIO, progress: _Progress, is_fresh: bool) -> bool:
        """Add the lines from here on; whether none was left for the next time."""
        rows: list[_Row] = []
        bad: list[str] = []
        is_whole = True
        while line := file.readline(_LONGEST_LINE):
            if not line.endswith(b"\n"):
                if len(line) == _LONGEST_LINE:
                    raise ConfigurationError(
                        f"{self.name}: line {progress.lines + 1} is longer than 1 MiB"
                    )
                if is_fresh:  # more of it may come: half a number is another number
                    is_whole = False
                    break
                progress.ends_open = True
            progress.offset += len(line)
            progress.digest.update(line)
            progress.lines += 1
            try:
                row = self._row(line, progress)
            except BadRow as error:
                self._on_bad_row(f"line {progress.lines}: {one_line(str(error), 300)}", bad)
                continue
            if row is not None:
                rows.append(row)
            if len(rows) * math.prod(self._spec.shape) >= _BLOCK_NUMBERS:
                self._keep(rows, progress)
                rows = []
        self._keep(rows, progress)
        progress.bad += len(bad)
        if len(bad) > _MOST_LINES:
            log.warning("%s: skipped %d more; %d in all", self.name, len(bad) - _MOST_LINES,
                        progress.bad)  # fmt: skip
        return is_whole

    def _row(self, line: bytes, progress: _Progress) -> _Row | None:
        """The sample in a line; None for an empty one and for the names of the columns."""
        text = line.decode("utf-8-sig" if progress.lines == 1 else "utf-8", errors="replace")
        text = text.rstrip("\r\n")
        if not text.strip():
            return None
        if progress.columns is None:
            progress.columns = self._columns(text)
            if self._settings.header:
                return None
        cells, columns = split_line(text, self._settings.delimiter), progress.columns
        features, labels = self._reader.read(cells, columns)
        # Without the label: a row that is labelled anew stays the same sample.
        rest = (cell for place, cell in enumerate(cells) if place not in columns.labels)
        return features, labels, "\x1f".join(rest).encode()

    def _columns(self, text: str) -> Columns:
        try:
            first = [cell.strip() for cell in split_line(text, self._settings.delimiter)]
        except BadRow as error:  # nothing behind it can be understood either
            raise ConfigurationError(f"{self.name}: the first line: {error}") from error
        columns = Columns.of(first, self._settings, self.name)
        wanted = math.prod(self._spec.shape)
        if len(columns.features) != wanted:
            raise ConfigurationError(
                f"{self.name}: {len(columns.features)} features, the bundle's model takes "
                f"{wanted}; name them with features = [...] under [data.csv]"
            )
        return columns

    def _on_bad_row(self, complaint: str, bad: list[str]) -> None:
        if self._settings.bad_rows is BadRows.REFUSE:
            raise ConfigurationError(
                f'{self.name}: {complaint}; mend it, or set bad_rows = "skip" under [data.csv]'
            )
        bad.append(complaint)
        if len(bad) <= _MOST_LINES:
            log.warning("%s: skipped %s", self.name, complaint)

    def _keep(self, rows: list[_Row], progress: _Progress) -> None:
        """Scale the rows, and let go of what is older than the newest that are kept."""
        if not rows:
            return
        features = np.array([row[0] for row in rows], np.float64)
        with np.errstate(over="ignore"):  # what leaves float32 is infinite, and told by the check
            x = ((features * self._settings.scale - self._mean) / self._std).astype(np.float32)
            y = np.array([row[1] for row in rows], np.float64).astype(np.float32)
        progress.blocks.append((x, y, hashes(row[2] for row in rows)))
        spare = sum(len(block[1]) for block in progress.blocks) - self._most
        while spare > 0:
            first = progress.blocks[0]
            progress.blocks[:1] = [] if len(first[1]) <= spare else [
                (first[0][spare:].copy(), first[1][spare:].copy(), first[2][spare:].copy())
            ]  # fmt: skip
            spare -= len(first[1])

    def _joined(
        self, progress: _Progress
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.uint64]]:
        blocks = progress.blocks
        if not blocks:
            x = np.zeros((0, math.prod(self._spec.shape)), np.float32)
            outputs = 1 if self._loss.has_classes else self._spec.classes
            y, identities = np.zeros((0, outputs), np.float32), np.zeros(0, np.uint64)
        else:
            x, y, identities = (
                np.concatenate([block[part] for block in blocks]) for part in range(3)
            )
            progress.blocks[:] = [(x, y, identities)]
        # A class's number is below 2^24 in any model, and so exact as float32.
        return x, (y[:, 0].astype(np.int64) if self._loss.has_classes else y), identities


def _begins_alike(file: BinaryIO, progress: _Progress) -> bool:
    """Whether the bytes that were read are still there, compared by their digest."""
    digest, left = hashlib.sha256(), progress.offset
    for part in _parts(file, left):
        digest.update(part)
        left -= len(part)
    return left == 0 and bool(digest.digest() == progress.digest.digest())


def _parts(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (part := file.read(min(size, 1 << 20))):
        size -= len(part)
        yield part
