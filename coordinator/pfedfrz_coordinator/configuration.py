"""The coordinator's TOML file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pfedfrz_protocol import ConfigurationError, check_name
from pfedfrz_storage import read_configuration
from pfedfrz_transport import TlsSettings

from .admission import EnrolmentPolicy, QuarantinePolicy
from .aggregation import find_rule, require_clients
from .bundle_offering import BundleUpdatePolicy
from .metrics_policy import MetricsPolicy
from .policy import RoundPolicy
from .quotas import QuotaPolicy
from .validation import ValidationPolicy
from .worker_policy import WorkerPolicy, require_mergeable

__all__ = ["CoordinatorSettings", "load_coordinator_settings"]

_LONGEST_S = 86_400
"""No wait is longer: the clock's own functions refuse an endless one."""


class CoordinatorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a coordinator is told; relative paths start at the file's folder."""

    federation: str
    bundle: Path
    state_dir: Path
    broker: str = "mqtt://127.0.0.1:1883"
    password_file: Path | None = None
    """The password of the user in the broker's URL, in a file with mode 0600."""
    tls: TlsSettings = TlsSettings()
    connect_timeout_s: float = 30.0
    """How long the broker may take to answer when the process starts."""
    aggregation: str = "mean"
    """A rule with its settings, such as "krum:attackers=2"; docs/aggregation.md has them all."""
    rounds: RoundPolicy = RoundPolicy()
    validation: ValidationPolicy = ValidationPolicy()
    key_file: Path | None = None
    """The coordinator's private key; by default coordinator.key in state_dir, made at first."""
    enrolment: EnrolmentPolicy = EnrolmentPolicy()
    quarantine: QuarantinePolicy = QuarantinePolicy()
    quotas: QuotaPolicy = QuotaPolicy()
    workers: WorkerPolicy = WorkerPolicy()
    bundle_updates: BundleUpdatePolicy = BundleUpdatePolicy()
    metrics: MetricsPolicy = MetricsPolicy()
    operators: Path | None = None
    """Who may pause and let in over MQTT: a TOML file with a table [operators] of NAME =
    "public key". Without it nobody may, and nobody is listened to."""

    @property
    def key_path(self) -> Path:
        """Where the private key is."""
        return self.key_file or self.state_dir / "coordinator.key"

    def worker_dir(self, name: str) -> Path:
        """Where the worker of that name keeps its updates."""
        return self.state_dir / "workers" / name

    def __post_init__(self) -> None:
        check_name("federation", self.federation)
        rule, rounds = find_rule(self.aggregation), self.rounds
        if rounds.participants:
            require_clients(rule, rounds.participants, f"participants = {rounds.participants}")
        if rounds.buffer:
            require_clients(rule, rounds.buffer, f"buffer = {rounds.buffer}")
        require_clients(rule, rounds.max_devices, f"max_devices = {rounds.max_devices}")
        require_mergeable(self.workers, rule, rounds, self.validation)
        if not 0 < self.connect_timeout_s <= _LONGEST_S:
            raise ConfigurationError(
                f"connect_timeout_s = {self.connect_timeout_s} (want above 0, at most {_LONGEST_S})"
            )


def load_coordinator_settings(path: Path) -> CoordinatorSettings:
    """The settings in `path`; ConfigurationError names the file, the key and the remedy."""
    settings = read_configuration(path, CoordinatorSettings)
    here, enrolment = path.parent, settings.enrolment
    if enrolment.devices is not None:
        enrolment = msgspec.structs.replace(enrolment, devices=here / enrolment.devices)
    return msgspec.structs.replace(
        settings,
        bundle=here / settings.bundle,
        state_dir=here / settings.state_dir,
        key_file=None if settings.key_file is None else here / settings.key_file,
        enrolment=enrolment,
        operators=None if settings.operators is None else here / settings.operators,
        password_file=None if settings.password_file is None else here / settings.password_file,
        tls=settings.tls.below(here),
    )
