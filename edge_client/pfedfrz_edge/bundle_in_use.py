"""Which bundle a device runs and where its stores are, for whoever looks from beside the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pfedfrz_protocol import Bundle
from pfedfrz_storage import read_bundle_file

from .bundle_places import BundlePlaces
from .bundle_record import BundleRecord, load_record
from .configuration import DeviceSettings

__all__ = ["BundleInUse", "bundle_that_runs", "bundle_that_was_trained"]


@dataclass(frozen=True)
class BundleInUse:
    """One of the bundles of BundleHomes, read without touching anything."""

    bundle: Bundle
    path: Path
    home: Path
    """The folder of its stores."""


def bundle_that_runs(settings: DeviceSettings) -> BundleInUse:
    """What the device's process runs, or would run if it were started now.

    Raises ConfigurationError for a file that cannot be used, OperationError for one not readable.
    """
    return _find(settings, lambda record: record.active)


def bundle_that_was_trained(settings: DeviceSettings) -> BundleInUse:
    """The bundle of the model to predict with: while one is on trial, still the one before.

    Errors as above.
    """
    return _find(settings, lambda record: record.previous or record.active)


def _find(settings: DeviceSettings, choose: Callable[[BundleRecord], str]) -> BundleInUse:
    configured, state_dir = read_bundle_file(settings.bundle), settings.state_dir
    own = configured.manifest.digest
    record = load_record(state_dir)
    # The next start follows a person who has put another bundle into the configuration since.
    digest = own if record is None or record.configured != own else choose(record)
    places = BundlePlaces(state_dir, record.root if record else own)
    if digest == own:
        return BundleInUse(configured, settings.bundle, places.home(digest))
    return BundleInUse(places.read(digest), places.archive(digest), places.home(digest))
