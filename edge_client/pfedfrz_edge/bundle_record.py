"""Which bundle a device runs: one small file, whose replacement is the switch.

Without the file a device runs the bundle that its configuration names, and its stores are in the
state directory itself. The file is first written when a coordinator's offer is seen; from then on
it says which bundle is in use. Every other bundle has a folder of its own for its stores, so that
to go over, or back, is to write this file and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from pfedfrz_protocol import OperationError, decode_json
from pfedfrz_storage import write_atomically

__all__ = ["BundleRecord", "Refusal", "load_record", "save_record"]

_FILE = "bundle.json"
_MOST_REFUSALS = 8


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a bundle is not used here."""

    serial: int
    """Of its offer."""
    detail: str
    lasting: bool = False
    """It was tried and failed; otherwise it is looked at again when the process starts anew."""


class BundleRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device must know of its bundles; digests are those of manifests."""

    root: str
    """The bundle whose stores are in the state directory itself: the first one."""
    configured: str
    """What the configuration named when this was written: if it names another, a person chose."""
    active: str
    previous: str = ""
    """Where to go back to if the active one fails; "" when it is not on trial."""
    attempts: int = 0
    """Of the trial: dangerous stretches that were begun and not survived."""
    serial: int = 0
    """The highest of an offer that was seen."""
    followed: int = 0
    """The highest about which nothing is left to do."""
    installed: str | None = None
    """What is said of the active one, if an offer brought it."""
    refused: dict[str, Refusal] = {}
    """By digest."""

    @property
    def on_trial(self) -> bool:
        """Whether the active bundle has not done any work yet."""
        return bool(self.previous)

    def refusing(self, digest: str, refusal: Refusal) -> BundleRecord:
        """The same with one more refusal; the oldest are forgotten."""
        known = {**self.refused, digest: refusal}
        newest = sorted(known.items(), key=lambda item: item[1].serial)[-_MOST_REFUSALS:]
        return msgspec.structs.replace(self, refused=dict(newest))


def load_record(state_dir: Path) -> BundleRecord | None:
    """What is there; None before the first offer. OperationError when it cannot be read."""
    path = state_dir / _FILE
    try:
        return decode_json(path.read_bytes(), BundleRecord)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OperationError(f"cannot read {path}: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise OperationError(
            f"{path} is damaged ({error}): bring it back from a backup; removed, the device begins "
            "again with the bundle of its configuration"
        ) from error


def save_record(state_dir: Path, record: BundleRecord) -> None:
    """Write it, lastingly and whole; OperationError when the disk refuses."""
    content = msgspec.json.format(msgspec.json.encode(record), indent=1)
    write_atomically(state_dir / _FILE, content, mode=0o600)
