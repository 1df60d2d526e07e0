"""A device from its configuration file to its last word: what `pfedfrz device` runs."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pfedfrz_protocol import Bundle, PfedfrzError
from pfedfrz_protocol.messages import MAX_TEXT
from pfedfrz_protocol.one_line import one_line
from pfedfrz_storage import (
    OwnIdentity,
    load_or_make_identity,
    load_signing_key,
    lock_directory,
    read_bundle_file,
    rotate_identity,
)
from pfedfrz_transport import MqttLink, ServiceManager, open_access

from .agent import DeviceAgent, new_boot_id
from .bundle_follower import BundleFollower, GoBack, GoOver
from .bundle_homes import BundleHomes
from .bundle_in_use import bundle_that_runs
from .configuration import LONGEST_S, DeviceSettings, load_device_settings
from .data import DeviceData, open_device_data
from .loading import load_beside
from .publisher import device_will
from .runtimes import Runtime, load_runtime
from .worker import Tamper

__all__ = ["check_device", "read_local_data", "rotate_device_key", "run_device"]

log = logging.getLogger(__name__)
_LOADING = "loading samples and runtime"
_INSTALLING = "installing a bundle"


def read_local_data(settings: DeviceSettings, bundle: Bundle) -> DeviceData:
    """The device's samples, checked against what the bundle's model takes; `latest` has them."""
    return open_device_data(settings.data, bundle.manifest.input, bundle.manifest.loss)


def run_device(configuration: Path, tamper: Tamper | None = None) -> None:
    """Run one device until the federation is over or the process is told to end.

    SIGINT and SIGTERM end it cleanly: the running batch is finished, the status says offline.
    Raises ConfigurationError for what a person must mend (another process that uses the state
    directory is such a thing), BrokerUnreachable when the broker does not answer at the start; a
    broker that goes away later is waited for.
    """
    settings = load_device_settings(configuration)
    open_access(settings.broker, settings.tls, settings.password_file)
    configured = read_bundle_file(settings.bundle)
    equipment, manager = None, ServiceManager(os.environ)
    if not BundleHomes.are_kept(settings.state_dir):
        # What is wrong is said before anything is made.
        equipment = load_beside(manager, _LOADING, lambda: _equip(settings, configured))
    with lock_directory(settings.state_dir, mode=0o700):
        identity = load_or_make_identity(settings.key_path)
        homes = BundleHomes(settings.state_dir, configured)
        homes.follow_the_person()
        _Lives(settings, configuration, identity, homes, tamper, manager).run(equipment)


@dataclass(frozen=True)
class _Equipment:
    bundle: Bundle
    data: DeviceData
    runtime: Runtime


def _equip(settings: DeviceSettings, bundle: Bundle) -> _Equipment:
    data = read_local_data(settings, bundle)
    return _Equipment(bundle, data, load_runtime(settings.runtime, bundle, settings.compute_device))


@dataclass
class _Lives:
    """One agent after the other: each runs one bundle."""

    settings: DeviceSettings
    configuration: Path
    identity: OwnIdentity
    homes: BundleHomes
    tamper: Tamper | None
    manager: ServiceManager
    agent: DeviceAgent | None = None
    is_told_to_end: bool = False

    def run(self, equipment: _Equipment | None) -> None:
        """Until the end; `equipment` is that of the first life, if it is there already."""
        while not self.is_told_to_end:
            try:
                self.homes.begin()
                agent, follower = self._begin(equipment or self._equip())
                self.homes.survive()
            except Exception as error:
                # A native runtime may raise anything of a bundle that is on trial.
                if not self.homes.go_back(f"{error}" or type(error).__name__):
                    raise
                continue
            finally:
                equipment = None
            if self.is_told_to_end:
                agent.interrupt()
            agent.run()
            if not self._go_on(follower):
                return
            # From now on a broker that is away is waited for.
            self.settings = msgspec.structs.replace(self.settings, connect_timeout_s=LONGEST_S)

    def _equip(self) -> _Equipment:
        return load_beside(self.manager, _LOADING, lambda: _equip(self.settings, self.homes.read()))

    def _begin(self, equipment: _Equipment) -> tuple[DeviceAgent, BundleFollower]:
        settings, identity, bundle = self.settings, self.identity, equipment.bundle
        access = open_access(settings.broker, settings.tls, settings.password_file)
        boot_id = new_boot_id()
        link = MqttLink(
            access.address,
            f"{settings.federation}.device.{settings.device}",
            will=device_will(settings, bundle, boot_id, identity),
            options=access.options,
        )
        follower = BundleFollower(settings, self.configuration, self.homes, link, boot_id)
        agent = DeviceAgent(
            settings,
            bundle,
            equipment.runtime,
            equipment.data,
            link,
            boot_id,
            identity,
            tamper=self.tamper,
            home=self.homes.home,
            follower=follower,
            manager=self.manager,
        )
        self.agent = agent
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end)
        return agent, follower

    def _end(self, *_: object) -> None:
        self.is_told_to_end = True
        if self.agent is not None:
            self.agent.interrupt()

    def _go_on(self, follower: BundleFollower) -> bool:
        """Whether there is another life, with the bundle that it should have."""
        match follower.leaving:
            case GoOver(offer):
                try:
                    load_beside(self.manager, _INSTALLING, lambda: self.homes.install(offer))
                except PfedfrzError as error:
                    detail = one_line(f"{error}", MAX_TEXT)
                    log.error("the bundle %s... cannot be installed: %s", offer.bundle[:12], detail)
                    self.homes.refuse(offer, detail)
                return True
            case GoBack(detail):
                return self.homes.go_back(detail)
            case None:
                return False


def check_device(configuration: Path) -> DeviceSettings:
    """The settings of a device that could start: its files were read as `run_device` reads them.

    Connects to nobody and writes nothing. Raises ConfigurationError for what a person must mend,
    and OperationError when the disk refuses.
    """
    settings = load_device_settings(configuration)
    open_access(settings.broker, settings.tls, settings.password_file)
    bundle = bundle_that_runs(settings).bundle  # which an update may have brought
    read_local_data(settings, bundle)
    load_runtime(settings.runtime, bundle, settings.compute_device)
    if settings.key_file is not None:
        load_signing_key(settings.key_file)
    return settings


def rotate_device_key(configuration: Path) -> str:
    """The public key of a device that is not running, after it was given a new one.

    Raises ConfigurationError while the device runs, and for what a person must mend.
    """
    settings = load_device_settings(configuration)
    with lock_directory(settings.state_dir, mode=0o700):
        owner = f"{settings.federation}/device/{settings.device}"
        return rotate_identity(settings.key_path, owner).key.public
