"""The `[data]` table of a device's TOML file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pfedfrz_protocol import ConfigurationError

from .address import parse_address
from .csv_settings import CsvSettings
from .image_settings import ImageSettings

__all__ = ["DataSettings"]

_MOST_SAMPLES = 1 << 40


class DataSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the samples are: `train.npz`, `folder:PATH`, `csv:PATH` or `factory:PLACE:FUNCTION`."""

    train: str
    test: str | None = None
    """Without it, and without hold_out, the device trains as well, but reports no accuracy."""
    hold_out: float = 0.0
    """The share of the training samples that is kept for measuring and never trained on."""
    max_samples: int = 0
    """Only so many are kept, the newest; 0 for as many as fit into a quarter of the memory."""
    csv: CsvSettings = CsvSettings()
    images: ImageSettings = ImageSettings()

    def __post_init__(self) -> None:
        for key, text in (("train", self.train), ("test", self.test)):
            if text is not None:
                try:
                    parse_address(text)
                except ConfigurationError as error:
                    raise ConfigurationError(f"[data] {key} = {text!r}: {error}") from error
        if not 0 <= self.hold_out < 1:
            raise ConfigurationError(
                f"[data] hold_out = {self.hold_out} (want 0 or more, and below 1)"
            )
        if self.hold_out and self.test is not None:
            raise ConfigurationError(
                "[data] test and hold_out both say what is measured on: leave one out"
            )
        if not 0 <= self.max_samples <= _MOST_SAMPLES:
            raise ConfigurationError(
                f"[data] max_samples = {self.max_samples} (want 1 or more, or 0 for no wish)"
            )

    def below(self, directory: Path) -> DataSettings:
        """The same with relative paths starting at `directory`."""
        train = str(parse_address(self.train).below(directory))
        test = None if self.test is None else str(parse_address(self.test).below(directory))
        return msgspec.structs.replace(self, train=train, test=test)
