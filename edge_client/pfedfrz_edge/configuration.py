"""The device's TOML file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pfedfrz_protocol import ConfigurationError, Encoding, PublicKey, check_name
from pfedfrz_storage import read_configuration
from pfedfrz_transport import TlsSettings

from .conditions import ConditionSettings
from .data.settings import DataSettings
from .update_policy import UpdateSettings

__all__ = ["LONGEST_S", "DataSettings", "DeviceSettings", "load_device_settings"]

LONGEST_S = 86_400
"""No wait is longer: the clock's own functions refuse an endless one."""

_MOST_MIB = 1 << 20


class DeviceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a device is told; relative paths start at the file's folder."""

    federation: str
    device: str
    bundle: Path
    state_dir: Path
    data: DataSettings
    broker: str = "mqtt://127.0.0.1:1883"
    password_file: Path | None = None
    """The password of the user in the broker's URL, in a file with mode 0600."""
    tls: TlsSettings = TlsSettings()
    conditions: ConditionSettings = ConditionSettings()
    """When the device may train; without it, always."""
    connect_timeout_s: float = 30.0
    """How long the broker may take to answer when the process starts."""
    runtime: str = "onnxruntime"
    compute_device: str = "auto"
    """For runtimes torch and onnxruntime: cpu, cuda, cuda:1, or auto for CUDA where it works."""
    seed: int = 0
    encoding: Encoding = Encoding.DELTA_FLOAT16
    heartbeat_s: float = 15.0
    feature_memory_mib: int = 64
    """Memory for what a frozen part says about the samples; what is more goes to state_dir."""
    key_file: Path | None = None
    """The device's private key; by default device.key in state_dir, made at first."""
    coordinator_key: PublicKey | None = None
    """The public key of the coordinator; without it the first one that is heard is trusted."""
    share_label_mix: bool = False
    """Tell how many training samples of each class there are: whoever may read the federation's
    JSON sees it."""
    exit_when_stopped: bool = False
    """End the process when the federation is over, instead of waiting for the next."""
    updates: UpdateSettings = UpdateSettings()
    """Which bundles the device takes from its coordinator."""

    @property
    def key_path(self) -> Path:
        """Where the private key is."""
        return self.key_file or self.state_dir / "device.key"

    def __post_init__(self) -> None:
        check_name("federation", self.federation)
        check_name("device", self.device)
        if not 0 <= self.feature_memory_mib <= _MOST_MIB:
            raise ConfigurationError(
                f"feature_memory_mib = {self.feature_memory_mib} (want 0 to {_MOST_MIB})"
            )
        for key in ("heartbeat_s", "connect_timeout_s"):
            value = getattr(self, key)
            if not 0 < value <= LONGEST_S:
                raise ConfigurationError(f"{key} = {value} (want above 0, at most {LONGEST_S})")


def load_device_settings(path: Path) -> DeviceSettings:
    """The settings in `path`; ConfigurationError names the file, the key and the remedy."""
    settings = read_configuration(path, DeviceSettings)
    here = path.parent
    return msgspec.structs.replace(
        settings,
        bundle=here / settings.bundle,
        state_dir=here / settings.state_dir,
        key_file=None if settings.key_file is None else here / settings.key_file,
        password_file=None if settings.password_file is None else here / settings.password_file,
        tls=settings.tls.below(here),
        data=settings.data.below(here),
    )
