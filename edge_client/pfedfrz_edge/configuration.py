"""The device's TOML file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pfedfrz_protocol import ConfigurationError, Encoding, check_name, decode_configuration

__all__ = ["DataSettings", "DeviceSettings", "load_device_settings"]


class DataSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the samples are: .npz files with arrays x and y."""

    train: Path
    test: Path | None = None
    """Without it the device trains as well, but reports no accuracy."""


class DeviceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a device is told; relative paths start at the file's folder."""

    federation: str
    device: str
    bundle: Path
    state_dir: Path
    data: DataSettings
    broker: str = "mqtt://127.0.0.1:1883"
    connect_timeout_s: float = 30.0
    """How long the broker may take to answer when the process starts."""
    runtime: str = "onnxruntime"
    compute_device: str = "auto"
    """For runtime torch: cpu, cuda, cuda:1, or auto for CUDA where there is any."""
    seed: int = 0
    encoding: Encoding = Encoding.DELTA_FLOAT16
    heartbeat_s: float = 15.0
    exit_when_stopped: bool = False
    """End the process when the federation is over, instead of waiting for the next."""


def load_device_settings(path: Path) -> DeviceSettings:
    """The settings in `path`; ConfigurationError names the file, the key and the remedy."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    settings = decode_configuration(content, str(path), DeviceSettings)
    check_name("federation", settings.federation)
    check_name("device", settings.device)
    if not settings.heartbeat_s > 0:
        raise ConfigurationError(f"{path}: heartbeat_s = {settings.heartbeat_s} (want above 0)")
    here, data = path.parent, settings.data
    return msgspec.structs.replace(
        settings,
        bundle=here / settings.bundle,
        state_dir=here / settings.state_dir,
        data=DataSettings(here / data.train, here / data.test if data.test else None),
    )
