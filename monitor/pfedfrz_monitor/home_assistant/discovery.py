"""Discovery messages: which entities there are, and where their states come from.

The form is the device-based one, one message for a device with all its entities
(<https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>), which Home Assistant
takes since 2024.11. Templates are fixed texts of ours: nothing that a device says becomes one.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import msgspec

from pfedfrz_protocol.one_line import one_line

from ..device_view import Stage
from .place import Place

__all__ = ["Component", "Discovery", "device_discovery", "federation_discovery"]

_LONGEST_NAME = 80


class Component(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entity."""

    platform: str
    name: str
    unique_id: str
    value_template: str
    device_class: str | None = None
    state_class: str | None = None
    unit_of_measurement: str | None = None
    suggested_display_precision: int | None = None
    options: tuple[str, ...] = ()
    entity_category: str | None = None
    icon: str | None = None
    command_topic: str | None = None


class Owner(msgspec.Struct, frozen=True, omit_defaults=True):
    """The device, in Home Assistant's sense, that the entities belong to."""

    identifiers: tuple[str, ...]
    name: str
    manufacturer: str
    model: str
    via_device: str | None = None


class Origin(msgspec.Struct, frozen=True):
    """Who says so."""

    name: str
    sw_version: str


class Discovery(msgspec.Struct, frozen=True):
    """One discovery message."""

    device: Owner
    origin: Origin
    state_topic: str
    availability_topic: str
    components: dict[str, Component]
    qos: int = 1


_MAKER = "pfedfrz"
_STATES = ("running", "paused", "over", "unknown")
_STAGES = ("offline", "waiting", "kept-out", *(stage.value for stage in Stage))


def federation_discovery(place: Place, *, may_pause: bool) -> Discovery:
    """The federation's own entities; with the switch where an operator's key is at hand."""
    make = _Maker(place.identifier())
    components = {
        "round": make.sensor("round", "Round", icon="mdi:counter", state_class="measurement"),
        "state": make.choice("state", "State", _STATES),
        "online": make.sensor("online", "Devices online", state_class="measurement"),
        "received": make.share("received", "Received accuracy"),
        "local": make.share("local", "Local accuracy"),
        "rejected": make.sensor(
            "rejected", "Rejected in the last round", state_class="measurement"
        ),
        "uplink": make.size("uplink", "Uploaded in the last round"),
        "downlink": make.size("downlink", "Downloaded in the last round"),
        "coordinator": make.connectivity("coordinator", "Coordinator"),
    }
    if may_pause:
        components["pause"] = Component(
            "switch",
            "Pause",
            f"{make.owner}_pause",
            "{{ 'ON' if value_json.paused else 'OFF' }}",
            icon="mdi:pause-circle",
            command_topic=place.pause,
        )
    owner = Owner((make.owner,), f"Federation {place.federation}", _MAKER, "federation")
    return Discovery(owner, _origin(), place.state, place.availability, components)


def device_discovery(place: Place, device: str, label: str = "") -> Discovery:
    """The entities of one device."""
    make = _Maker(place.identifier(device))
    components = {
        "connected": make.connectivity("connected", "Connected"),
        "stage": make.choice("stage", "Stage", _STAGES),
        "local": make.share("local", "Local accuracy"),
        "cosine": make.sensor(
            "cosine", "Cosine of the last update", state_class="measurement", precision=2
        ),
        "samples": make.sensor("samples", "Training samples", state_class="measurement"),
    }
    name = one_line(label, _LONGEST_NAME) or device
    owner = Owner((make.owner,), name, _MAKER, "device", place.identifier())
    return Discovery(owner, _origin(), place.device_state(device), place.availability, components)


class _Maker:
    def __init__(self, owner: str) -> None:
        self.owner = owner

    def sensor(
        self,
        key: str,
        name: str,
        *,
        state_class: str | None = None,
        icon: str | None = None,
        precision: int | None = None,
    ) -> Component:
        return Component(
            "sensor",
            name,
            f"{self.owner}_{key}",
            f"{{{{ value_json.{key} }}}}",
            state_class=state_class,
            icon=icon,
            suggested_display_precision=precision,
        )

    def share(self, key: str, name: str) -> Component:
        basis = self.sensor(key, name, state_class="measurement", precision=1)
        return msgspec.structs.replace(basis, unit_of_measurement="%", icon="mdi:chart-line")

    def size(self, key: str, name: str) -> Component:
        basis = self.sensor(key, name, state_class="measurement")
        return msgspec.structs.replace(
            basis, unit_of_measurement="B", device_class="data_size", entity_category="diagnostic"
        )

    def choice(self, key: str, name: str, options: tuple[str, ...]) -> Component:
        return msgspec.structs.replace(self.sensor(key, name), device_class="enum", options=options)

    def connectivity(self, key: str, name: str) -> Component:
        return Component(
            "binary_sensor",
            name,
            f"{self.owner}_{key}",
            f"{{{{ 'ON' if value_json.{key} else 'OFF' }}}}",
            device_class="connectivity",
        )


def _origin() -> Origin:
    try:
        return Origin("pfedfrz", version("pfedfrz"))
    except PackageNotFoundError:  # run from a checkout that was not installed
        return Origin("pfedfrz", "0")
