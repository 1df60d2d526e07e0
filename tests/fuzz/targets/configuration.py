"""The TOML files: device, coordinator, accept list, attack orders."""

from __future__ import annotations

from recipe import scratch

from pfedfrz_coordinator.configuration import load_coordinator_settings
from pfedfrz_coordinator.key_lists import read_accept_list
from pfedfrz_edge.configuration import load_device_settings
from pfedfrz_emulator.attacks.device_attacker import load_orders
from pfedfrz_protocol import ConfigurationError

READERS = (load_device_settings, load_coordinator_settings, read_accept_list, load_orders)


def target(data: bytes) -> None:
    """The first byte is whose file it is."""
    path = scratch() / "settings.toml"
    path.write_bytes(data[1:])
    try:
        READERS[(data[0] if data else 0) % len(READERS)](path)
    except ConfigurationError:
        pass


_DEVICE = b"""federation = "lab"
device = "pi-3"
bundle = "b.pfz"
state_dir = "state"
seed = 3
encoding = "float32"
heartbeat_s = 1.5
[conditions]
others_cpu_below = 0.3
battery_at_least = 60
hot_c = 75
cool_c = 65.5
hours = ["22:00-06:00", "12:00-24:00"]
avoid_metered = ["wwan*", "eth1"]
[data]
train = "train.npz"
test = "test.npz"
"""
_COORDINATOR = b"""federation = "lab"
bundle = "b.pfz"
state_dir = "state"
aggregation = "krum:attackers=2"
[rounds]
rounds = 3
quorum = 0.5
max_devices = 20
[validation]
max_update_norm = 10.0
[enrolment]
devices = "list.toml"
permit_join_s = 60.0
[quarantine]
failures = 3
[quotas]
messages_per_s = 5.0
"""
_LIST = b'[devices]\npi-3 = "' + b"0" * 64 + b'"\n'
_ORDERS = b'attack = "ipm:scale=2"\nattackers = ["a", "b"]\ncollusion = "c"\n'


def nasty_toml() -> dict[str, bytes]:
    """The classes of attack on anything that reads TOML."""
    return {
        "deep-arrays": b"a = " + b"[" * 1500,
        "deep-tables": b"a = " + b"{a=" * 1500,
        "deep-keys": b".".join([b"a"] * 1500) + b" = 1",
        "duplicated-keys": b'federation = "a"\nfederation = "b"\n',
        "duplicated-table": b"[data]\n[data]\n",
        "not-a-number": b"seed = nan\nheartbeat_s = nan\n",
        "infinity": b"heartbeat_s = inf\n",
        "huge-number": b"seed = " + b"9" * 5000,
        "negative": b"seed = -1\nheartbeat_s = -1.0\n",
        "bad-utf-8": b'federation = "\xff"\n',
        "foreign-digits": 'federation = "١"\n'.encode(),
        "direction": 'device = "\u202eevil"\n'.encode(),
        "surrogate": b'device = "\\ud800"\n',
        "path-trick": b'bundle = "../../../../etc/passwd"\n',
        "nul-in-path": b'bundle = "a\\u0000b"\n',
        "date": b"seed = 1979-13-40\n",
        "truncated": b'federation = "a',
        "empty": b"",
    }


def seeds() -> dict[str, bytes]:
    found = {
        "device": b"\x00" + _DEVICE,
        "coordinator": b"\x01" + _COORDINATOR,
        "list": b"\x02" + _LIST,
        "orders": b"\x03" + _ORDERS,
    }
    for place, good in enumerate((_DEVICE, _COORDINATOR, _LIST, _ORDERS)):
        for name, text in nasty_toml().items():
            if place == 0 or name.startswith(("deep-a", "huge", "path")):
                found[f"{name}-{place}"] = bytes([place]) + text
        found[f"nan-{place}"] = bytes([place]) + good.replace(b"1.5", b"nan").replace(
            b"0.5", b"nan"
        )
    found["nul-in-list-path"] = b"\x01" + _COORDINATOR.replace(b"list.toml", b"a\\u0000")
    found["long-path"] = b"\x00" + _DEVICE.replace(b"b.pfz", b"a/" * 1500)
    return found
