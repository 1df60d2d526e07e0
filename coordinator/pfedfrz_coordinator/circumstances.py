"""How a federation is run, written into its journal: what a report of it can say later.

The configuration may have changed or be on another machine by then, and so may the bundle. Written
at every start; the newest stands.
"""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import msgspec

from pfedfrz_protocol import (
    Manifest,
    PfedfrzError,
    decode_json,
    decode_manifest,
    encode_manifest,
)
from pfedfrz_transport import BrokerAddress

from .configuration import CoordinatorSettings
from .journal import Journal
from .policy import RoundPolicy

__all__ = ["Circumstances", "environment", "read_circumstances", "write_circumstances"]

_FACT, _MANIFEST = "circumstances", "manifest"
_TOLD = ("validation", "quarantine", "workers")
_PACKAGES = ("numpy", "msgspec", "paho-mqtt", "safetensors", "zstandard")


class Circumstances(msgspec.Struct, frozen=True):
    """What the coordinator was told, as far as a report needs it; no password and no path."""

    federation: str
    broker: str
    """Without the account's password."""
    aggregation: str
    rounds: RoundPolicy
    further: dict[str, Any] = {}
    """Other tables of the configuration, as they are in the file."""
    environment: dict[str, str] = {}
    """See `environment`."""


def environment() -> dict[str, str]:
    """Versions of this process's packages, and the machine that it runs on."""
    versions = {name: metadata.version(name) for name in ("pfedfrz", *_PACKAGES)}
    return {
        **versions,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
    }


def write_circumstances(
    journal: Journal, settings: CoordinatorSettings, manifest: Manifest
) -> None:
    """Write both down, where they are not what stands there already."""
    told = Circumstances(
        settings.federation,
        str(BrokerAddress.parse(settings.broker)),
        settings.aggregation,
        settings.rounds,
        {name: msgspec.to_builtins(getattr(settings, name), enc_hook=str) for name in _TOLD},
        environment(),
    )
    facts = {_FACT: msgspec.json.encode(told), _MANIFEST: encode_manifest(manifest)}
    for name, value in facts.items():
        if journal.fact(name) != value.decode():
            journal.set_fact(name, value.decode())


def read_circumstances(journal: Journal) -> tuple[Circumstances | None, Manifest | None]:
    """What was written; None for what an earlier version did not write, or in another form."""
    told, manifest = journal.fact(_FACT), journal.fact(_MANIFEST)
    try:
        circumstances = decode_json(told, Circumstances) if told else None
    except (msgspec.MsgspecError, PfedfrzError):
        circumstances = None
    try:
        decoded = decode_manifest(manifest.encode()) if manifest else None
    except PfedfrzError:
        decoded = None
    return circumstances, decoded
