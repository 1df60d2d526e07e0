"""One line of a table as numbers and a label."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pfedfrz_protocol import ConfigurationError, InputSpec, LossKind, LossSpec
from pfedfrz_protocol.one_line import one_line

from .csv_settings import Column, CsvSettings

__all__ = ["BadRow", "Columns", "RowReader", "split_line"]

_FLOAT32_MAX = float(np.finfo(np.float32).max)


class BadRow(ValueError):
    """A line that is no sample; the message says why."""


@dataclass(frozen=True)
class Columns:
    """Which column is what, by number."""

    count: int
    labels: tuple[int, ...]
    features: tuple[int, ...]

    @classmethod
    def of(cls, first: Sequence[str], settings: CsvSettings, name: str) -> Columns:
        """The columns of a table by its first line; ConfigurationError begins with `name`."""

        def number(column: Column) -> int:
            if isinstance(column, str):
                if first.count(column) != 1:
                    there = "is there twice" if column in first else "is not there"
                    raise ConfigurationError(
                        f"{name}: column {column!r} {there}; the first line names "
                        f"{one_line(', '.join(first), 300)}"
                    )
                return first.index(column)
            if not -len(first) <= column < len(first):
                raise ConfigurationError(
                    f"{name}: there is no column {column}, the first line has {len(first)}"
                )
            return column % len(first)

        labels = tuple(number(column) for column in settings.label_columns)
        features = tuple(number(column) for column in settings.features) or tuple(
            place for place in range(len(first)) if place not in labels
        )
        if both := set(labels) & set(features):
            raise ConfigurationError(f"{name}: column {min(both)} is both a label and a feature")
        return cls(len(first), labels, features)


@dataclass(frozen=True)
class RowReader:
    """Makes samples of the cells of a line, as a bundle's model and loss want them."""

    spec: InputSpec
    loss: LossSpec
    names: tuple[str, ...]
    """What stands for class 0, 1 and so on; numbers without them."""

    def read(self, cells: Sequence[str], columns: Columns) -> tuple[list[float], list[float]]:
        """Features and labels; BadRow says which cell is wrong."""
        if len(cells) != columns.count:
            raise BadRow(f"{len(cells)} columns, not {columns.count}")
        features = [_number(cells[place], place) for place in columns.features]
        tokens = self.spec.tokens
        if tokens is not None and not all(v.is_integer() and 0 <= v < tokens for v in features):
            raise BadRow(f"the bundle's model looks up whole numbers from 0 to {tokens - 1}")
        return features, [self._label(cells[place], place) for place in columns.labels]

    def _label(self, cell: str, place: int) -> float:
        cell = cell.strip()
        if self.names:
            if cell not in self.names:
                raise BadRow(f"label {cell[:40]!r} is none of {', '.join(self.names)[:200]}")
            return float(self.names.index(cell))
        value = _number(cell, place)
        if self.loss.has_classes and not (value.is_integer() and 0 <= value < self.spec.classes):
            raise BadRow(
                f"label {cell[:40]!r}, the bundle's model knows 0 to {self.spec.classes - 1}"
            )
        if self.loss.kind is LossKind.BINARY_CROSS_ENTROPY and value not in (0, 1):
            raise BadRow(f"label {cell[:40]!r}; want 0 or 1, no or yes")
        return value


def split_line(line: str, delimiter: str) -> list[str]:
    """The cells of a line; BadRow for one with quotes that do not fit."""
    try:
        rows = list(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise BadRow(str(error)) from error
    return rows[0] if rows else []


def _number(cell: str, place: int) -> float:
    text = cell.strip()
    try:
        # Python also reads 1_000 and the digits of other scripts.
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not abs(value) <= _FLOAT32_MAX:
        raise BadRow(f"column {place}: {text[:40]!r} is not a number")
    return value
