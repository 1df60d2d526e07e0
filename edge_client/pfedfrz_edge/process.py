"""A device from its configuration file to its last word: what `pfedfrz device` runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from pfedfrz_protocol import Bundle
from pfedfrz_storage import (
    load_or_make_identity,
    load_signing_key,
    lock_directory,
    read_bundle_file,
    rotate_identity,
)
from pfedfrz_transport import MqttLink, ServiceManager, open_access

from .agent import DeviceAgent, device_will, new_boot_id
from .configuration import DeviceSettings, load_device_settings
from .data import DeviceData, open_device_data
from .runtimes import load_runtime
from .worker import Tamper

__all__ = ["check_device", "read_local_data", "rotate_device_key", "run_device"]


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
    access = open_access(settings.broker, settings.tls, settings.password_file)
    bundle = read_bundle_file(settings.bundle)
    data = read_local_data(settings, bundle)
    runtime = load_runtime(settings.runtime, bundle, settings.compute_device)
    boot_id = new_boot_id()
    with lock_directory(settings.state_dir, mode=0o700):
        identity = load_or_make_identity(settings.key_path)
        link = MqttLink(
            access.address,
            f"{settings.federation}.device.{settings.device}",
            will=device_will(settings, bundle, boot_id, identity),
            options=access.options,
        )
        agent = DeviceAgent(
            settings,
            bundle,
            runtime,
            data,
            link,
            boot_id,
            identity,
            tamper=tamper,
            manager=ServiceManager(os.environ),
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: agent.interrupt())
        agent.run()


def check_device(configuration: Path) -> DeviceSettings:
    """The settings of a device that could start: its files were read as `run_device` reads them.

    Connects to nobody and writes nothing. Raises ConfigurationError for what a person must mend,
    and OperationError when the disk refuses.
    """
    settings = load_device_settings(configuration)
    open_access(settings.broker, settings.tls, settings.password_file)
    bundle = read_bundle_file(settings.bundle)
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
