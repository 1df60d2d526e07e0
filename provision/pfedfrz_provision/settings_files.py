"""The TOML files of coordinator, devices and watchers, the lists of keys, a monitor's options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from .names import COORDINATOR, MONITOR
from .registry import Accounts, Member, Registry, Role

__all__ = [
    "DeviceData",
    "accept_list",
    "coordinator_toml",
    "device_toml",
    "monitor_options",
    "monitor_toml",
    "operator_list",
]


@dataclass(frozen=True, slots=True)
class DeviceData:
    """What differs between boards and keys: paths are the board's own.

    `train` and `test` are what the `[data]` table of a device takes: `train.npz`, `folder:PATH`,
    `csv:PATH`, `factory:FILE.py:FUNCTION`.
    """

    train: str = "train.npz"
    test: str | None = None
    runtime: str = "onnxruntime"


_COMMENTS_AT = 32
_COORDINATOR = """\
# The coordinator of "{federation}", written once by `pfedfrz provision`: changes stay.
federation = "{federation}"
bundle = "model.pfz"
state_dir = "state"
{access}key_file = "coordinator.key"
operators = "operators.toml"    # who may pause, let in and throw out over MQTT
aggregation = "mean"            # or one that stands attackers: docs/aggregation.md

{tls}
[enrolment]                     # who may take part
devices = "devices.toml"
permit_join_s = 0               # nobody but those

[rounds]
rounds = 20
start_devices = {devices}
deadline_s = 300.0
"""
_DEVICE = """\
# A device of "{federation}", written once by `pfedfrz provision`: changes stay.
federation = "{federation}"
device = "{device}"
bundle = "model.pfz"
state_dir = "state"
{access}key_file = "device.key"
coordinator_key = "{coordinator_key}"
runtime = {runtime}

{tls}
[data]                          # paths from this file's folder; more in docs/data.md
train = {train}{room}# or "folder:images", "csv:readings.csv", "factory:sensors.py:samples"
{test}

# [conditions]                  # when it may train: docs/device-at-work.md; without any, always
# others_cpu_below = 0.3        # while other programs use less than 30 % of the processors
# battery_at_least = 60         # on mains, or with 60 % in the battery; or: mains_only = true
# hot_c = 75                    # pause at 75 degrees Celsius, go on below cool_c, 65 by default
# hours = ["22:00-06:00"]       # local time
# avoid_metered = true          # not over a modem
"""
_MONITOR = """\
# For {who} of "{federation}", written once by `pfedfrz provision`: changes stay.
federation = "{federation}"
{access}coordinator_key = "{coordinator_key}"
{operator}
{tls}
[labels]                        # what devices are called on the screen
# device-00 = "kitchen"
"""
_MADE = "# made by `pfedfrz provision`, which writes it anew: no changes by hand\n"


def coordinator_toml(registry: Registry) -> str:
    """`coordinator.toml`."""
    return _COORDINATOR.format(
        federation=registry.federation,
        access=_access(registry, COORDINATOR),
        tls=_tls(registry),
        devices=max(1, len(registry.devices)),
    )


def device_toml(registry: Registry, device: str, data: DeviceData) -> str:
    """`device.toml`."""
    train = _quoted(data.train)
    test = '# test = "test.npz"             # for accuracies; or hold_out = 0.2'
    return _DEVICE.format(
        federation=registry.federation,
        device=device,
        access=_access(registry, device),
        coordinator_key=registry.coordinator_key,
        runtime=_quoted(data.runtime),
        tls=_tls(registry),
        train=train,
        room=" " * max(1, _COMMENTS_AT - len(f"train = {train}")),
        test=test if data.test is None else f"test = {_quoted(data.test)}",
    )


def monitor_toml(registry: Registry, name: str, role: Role) -> str:
    """`monitor.toml`, of a monitor or an operator."""
    operator = f'operator = "{name}"\noperator_key_file = "operator.key"\n'
    return _MONITOR.format(
        who=f"the operator {name}" if role is Role.OPERATOR else "whoever watches as " + name,
        federation=registry.federation,
        access=_access(registry, name),
        coordinator_key=registry.coordinator_key,
        operator=operator if role is Role.OPERATOR else "",
        tls=_tls(registry),
    )


def accept_list(registry: Registry) -> str:
    """`devices.toml`: the public key that each device is known by."""
    return f"{_MADE}[devices]\n{_keys(registry.devices)}"


def operator_list(registry: Registry) -> str:
    """`operators.toml`: the public key that each operator is known by."""
    return f"{_MADE}[operators]\n{_keys(registry.of(Role.OPERATOR))}"


def _keys(members: Mapping[str, Member]) -> str:
    return "".join(f'"{name}" = "{member.public_key}"\n' for name, member in members.items())


def monitor_options(registry: Registry, directory: str, password: str | None) -> str:
    """Options for mosquitto_sub, which it reads from $XDG_CONFIG_HOME/mosquitto_sub."""
    options = [
        f"-h {registry.hosts[0]}",
        f"-p {registry.port}",
        "-V mqttv5",
        f"--cafile {directory}/ca.pem",
    ]
    if registry.accounts is Accounts.PASSWORD:
        options += [f"-u {MONITOR}", f"-P {password}"]
    else:
        options += [f"--cert {directory}/tls.pem", f"--key {directory}/tls.key"]
    return "".join(f"{option}\n" for option in options)


def _access(registry: Registry, name: str) -> str:
    host = registry.hosts[0]
    place = f"[{host}]" if ":" in host else host
    if registry.accounts is Accounts.CERTIFICATE:
        return f'broker = "mqtts://{place}:{registry.port}"\n'
    return f'broker = "mqtts://{name}@{place}:{registry.port}"\npassword_file = "password"\n'


def _tls(registry: Registry) -> str:
    lines = ["[tls]", 'ca_file = "ca.pem"']
    if registry.accounts is Accounts.CERTIFICATE:
        lines += ['certificate_file = "tls.pem"', 'key_file = "tls.key"']
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string.
    return json.dumps(text)
