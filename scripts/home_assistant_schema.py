"""Holds discovery messages, a JSON list on standard input, to Home Assistant's own schemas.

For an environment that has the package homeassistant; scripts/test-home-assistant makes one.
"""

from __future__ import annotations

import json
import sys

from homeassistant.components.mqtt import binary_sensor, sensor, switch
from homeassistant.components.mqtt.mixins import MQTT_ENTITY_DEVICE_INFO_SCHEMA
from homeassistant.const import __version__

SCHEMAS = {
    "sensor": sensor.DISCOVERY_SCHEMA,
    "binary_sensor": binary_sensor.DISCOVERY_SCHEMA,
    "switch": switch.DISCOVERY_SCHEMA,
}
SHARED = ("state_topic", "availability_topic", "qos", "device")
# Known to releases that know the device-based form.
NEWER = {"options"}

checked = 0
for message in json.load(sys.stdin):
    MQTT_ENTITY_DEVICE_INFO_SCHEMA(message["device"])
    for key, component in message["components"].items():
        kind = component.pop("platform")
        merged = {**{name: message[name] for name in SHARED}, **component}
        lost = merged.keys() - SCHEMAS[kind]({**merged, "platform": "mqtt"}).keys() - NEWER
        if lost:
            sys.exit(f"{kind} {key}: Home Assistant does not know {', '.join(sorted(lost))}")
        checked += 1
print(f"{checked} entities are taken by Home Assistant {__version__}")
