"""What Home Assistant takes as a discovery message, written down a second time and strictly.

From the schemas of its MQTT integration as published (home-assistant/core,
homeassistant/components/mqtt: schemas.py, discovery.py, sensor.py, binary_sensor.py, switch.py and
config.py; documentation: home-assistant.io/integrations/mqtt). Unknown keys are an error here
though Home Assistant ignores them in components: a misspelled key is a defect.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

DISCOVERY_TOPIC = re.compile(r"device/(?:[a-zA-Z0-9_-]+/)?[a-zA-Z0-9_-]+/config")

Words = Annotated[str, Meta(min_length=1)]
Topic = Annotated[str, Meta(min_length=1, max_length=65535, pattern=r"^[^+#\x00]+$")]
Icon = Annotated[str, Meta(pattern=r"^[a-z0-9-]+:[a-z0-9-]+$")]
Category = Literal["config", "diagnostic"]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _Entity(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="platform", kw_only=True
):
    name: Words
    unique_id: Words
    value_template: Words
    icon: Icon | None = None
    entity_category: Category | None = None


class Sensor(_Entity, frozen=True, tag="sensor", kw_only=True):
    """sensor.py; device classes, state classes and units are those of the sensor integration."""

    device_class: Literal["enum", "data_size"] | None = None
    state_class: Literal["measurement", "total", "total_increasing"] | None = None
    unit_of_measurement: Words | None = None
    suggested_display_precision: Annotated[int, Meta(ge=0)] | None = None
    options: Annotated[tuple[Words, ...], Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        if (self.device_class == "enum") != (self.options is not None):
            raise ValueError("options and the device class enum go together")
        if self.options is not None and (self.state_class or self.unit_of_measurement):
            raise ValueError("an enum has neither state class nor unit")
        if self.device_class == "data_size" and self.unit_of_measurement not in ("B", "kB", "MB"):
            raise ValueError("a data size is in bytes")


class BinarySensor(_Entity, frozen=True, tag="binary_sensor", kw_only=True):
    """binary_sensor.py; without payloads, ON and OFF."""

    device_class: Literal["connectivity"] | None = None


class Switch(_Entity, frozen=True, tag="switch", kw_only=True):
    """switch.py: what can be written to needs a command topic."""

    command_topic: Topic


class Owner(_Strict, frozen=True):
    """MQTT_ENTITY_DEVICE_INFO_SCHEMA: at least one identifier."""

    identifiers: Annotated[tuple[Words, ...], Meta(min_length=1)]
    name: Words
    manufacturer: str = ""
    model: str = ""
    via_device: str | None = None


class Origin(_Strict, frozen=True):
    """MQTT_ORIGIN_INFO_SCHEMA."""

    name: Words
    sw_version: str = ""


class Discovery(_Strict, frozen=True):
    """DEVICE_DISCOVERY_SCHEMA: device, components and origin are required."""

    device: Owner
    components: dict[str, Sensor | BinarySensor | Switch]
    origin: Origin
    state_topic: Topic | None = None
    availability_topic: Topic | None = None
    qos: Literal[0, 1, 2] = 0
