"""The federation in Home Assistant: discovered over MQTT, with sensors and a switch to pause."""

from __future__ import annotations

from .bridge import Bridge, show_in
from .place import Place
from .removal import remove_from

__all__ = ["Bridge", "Place", "remove_from", "show_in"]
