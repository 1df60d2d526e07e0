"""Where everything stands on the broker: what Home Assistant reads, and what it answers on."""

from __future__ import annotations

from dataclasses import dataclass

from pfedfrz_protocol import ConfigurationError, Topics
from pfedfrz_transport import check_topic

__all__ = ["Place"]


@dataclass(frozen=True)
class Place:
    """The topics of one federation in Home Assistant; ConfigurationError for names that cannot be.

    States are ours, under `pfedfrz-ha/`, so that nothing unsigned stands where signed messages do.
    """

    federation: str
    prefix: str = "homeassistant"
    """Home Assistant's discovery prefix."""

    def __post_init__(self) -> None:
        Topics(self.federation)
        try:
            check_topic(self.prefix)
        except ValueError as error:
            raise ConfigurationError(f"--discovery-prefix {self.prefix!r}: {error}") from error

    @property
    def root(self) -> str:
        """Above all of our own topics."""
        return f"pfedfrz-ha/v1/{self.federation}"

    @property
    def availability(self) -> str:
        """Retained: online or offline, which is also the last will."""
        return f"{self.root}/status"

    @property
    def state(self) -> str:
        """Retained: the federation in numbers."""
        return f"{self.root}/state"

    @property
    def pause(self) -> str:
        """What the switch sends: ON or OFF."""
        return f"{self.root}/pause/set"

    @property
    def every_device_state(self) -> str:
        """The filter for all device states."""
        return f"{self.root}/device/+/state"

    def device_state(self, device: str) -> str:
        """Retained: a device in numbers."""
        return f"{self.root}/device/{device}/state"

    def identifier(self, device: str | None = None) -> str:
        """What Home Assistant knows the federation or one of its devices by."""
        parts = [self.federation] if device is None else [self.federation, device]
        return "_x".join(["pfedfrz", *map(_spelled, parts)])

    def config(self, device: str | None = None) -> str:
        """Retained: the discovery message of the federation, or of one of its devices."""
        return f"{self.prefix}/device/{self.identifier(device)}/config"


def _spelled(name: str) -> str:
    """The name in the letters that a discovery topic may have, which lack the dot.

    Two names are never spelled alike, nor are two pairs joined by `_x`.
    """
    return name.replace("_", "__").replace(".", "_d")
