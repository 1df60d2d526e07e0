"""What a device lets its coordinator change."""

from __future__ import annotations

import enum

import msgspec

from pfedfrz_protocol import MAX_BUNDLE_BYTES, ConfigurationError

__all__ = ["OfferPolicy", "UpdateSettings"]

_MOST_MIB = MAX_BUNDLE_BYTES >> 20


class OfferPolicy(str, enum.Enum):
    """Whose bundles a device takes up."""

    PINNED = "pinned"
    """Those of a coordinator whose key a person wrote into the configuration."""
    TRUSTED = "trusted"
    """Also those of one whose key was merely the first that the device heard."""
    NEVER = "never"


class UpdateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[updates]`: bundles that the coordinator offers."""

    bundles: OfferPolicy = OfferPolicy.PINNED
    max_mib: int = 64
    """No larger archive is fetched: it is in memory twice while it is put together, and then on the
    disk twice."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_mib <= _MOST_MIB:
            raise ConfigurationError(f"[updates] max_mib = {self.max_mib} (want 1 to {_MOST_MIB})")
