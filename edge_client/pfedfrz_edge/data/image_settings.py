"""The `[data.images]` table of a device's TOML file."""

from __future__ import annotations

import enum

import msgspec

from pfedfrz_protocol import ConfigurationError

from .scaling import Numbers, check_scaling

__all__ = ["Fit", "ImageSettings", "check_labels"]

_MOST_MEGAPIXELS = 1000


class Fit(str, enum.Enum):
    """How an image of another size comes to the model's."""

    STRETCH = "stretch"
    """Each side on its own: nothing is lost, but proportions."""
    CROP = "crop"
    """Both sides alike; what is then too long is cut off at both ends."""


class ImageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a folder of images becomes samples."""

    labels: tuple[str, ...] = ()
    """The folders of all classes in the order of their numbers; by default what labels.txt in the
    folder says, one on a line, and without it all folders in the order of their names."""
    fit: Fit = Fit.STRETCH
    mean: Numbers = 0.0
    std: Numbers = 1.0
    """Pixels p from 0 to 255 become (p / 255 - mean) / std; for all, or one for each channel."""
    max_megapixels: float = 32.0
    """A larger image is not unpacked but skipped."""

    def __post_init__(self) -> None:
        check_labels("[data.images] labels", self.labels)
        check_scaling("[data.images]", self.mean, self.std)
        if not 0 < self.max_megapixels <= _MOST_MEGAPIXELS:
            raise ConfigurationError(
                f"[data.images] max_megapixels = {self.max_megapixels} "
                f"(want above 0, at most {_MOST_MEGAPIXELS})"
            )


def check_labels(where: str, labels: tuple[str, ...]) -> None:
    """ConfigurationError for names that are no folder's, or are there twice."""
    for label in labels:
        if label in ("", ".", "..") or "/" in label or not label.isprintable():
            raise ConfigurationError(f"{where}: {label!r} is no folder's name")
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ConfigurationError(f"{where}: {twice!r} is there twice")
