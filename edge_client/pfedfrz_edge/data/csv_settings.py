"""The `[data.csv]` table of a device's TOML file."""

from __future__ import annotations

import enum
import math

import msgspec

from pfedfrz_protocol import ConfigurationError

from .scaling import Numbers, check_scaling

__all__ = ["BadRows", "Column", "CsvSettings"]

Column = str | int
"""A column by the name in the first line, or by its number from 0; -1 is the last."""


class BadRows(str, enum.Enum):
    """What becomes of a row that is no sample."""

    REFUSE = "refuse"
    SKIP = "skip"


class CsvSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a table becomes samples."""

    header: bool = True
    """Whether the first line names the columns."""
    label: Column | tuple[Column, ...] = -1
    """The column of the label; several where the bundle's loss wants several numbers."""
    features: tuple[Column, ...] = ()
    """The columns that the model sees, in this order; by default all but the label."""
    labels: tuple[str, ...] = ()
    """What stands for class 0, 1 and so on; without it the column holds these numbers."""
    delimiter: str = ","
    scale: float = 1.0
    mean: Numbers = 0.0
    std: Numbers = 1.0
    """A number v becomes (v * scale - mean) / std; for all, or one for each feature."""
    bad_rows: BadRows = BadRows.REFUSE

    def __post_init__(self) -> None:
        check_scaling("[data.csv]", self.mean, self.std)
        if not math.isfinite(self.scale):
            raise ConfigurationError(f"[data.csv] scale = {self.scale} (want a finite number)")
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n\0' or not self.delimiter.isascii():
            raise ConfigurationError(
                f"[data.csv] delimiter = {self.delimiter!r} (want one character)"
            )
        if len(set(self.labels)) < len(self.labels):
            raise ConfigurationError("[data.csv] labels: one is there twice")
        named = [c for c in (*self.label_columns, *self.features) if isinstance(c, str)]
        if named and not self.header:
            raise ConfigurationError(
                f"[data.csv] {named[0]!r} names a column, but header = false: give its number"
            )

    @property
    def label_columns(self) -> tuple[Column, ...]:
        """The columns of the label."""
        return self.label if isinstance(self.label, tuple) else (self.label,)
