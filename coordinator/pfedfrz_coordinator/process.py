"""A coordinator, or a worker of its, from the configuration file to the last word."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pfedfrz_protocol import Bundle, ConfigurationError, check_name
from pfedfrz_storage import (
    load_or_make_identity,
    load_signing_key,
    lock_directory,
    read_bundle_file,
    rotate_identity,
)
from pfedfrz_transport import MqttLink, ServiceManager, open_access

from .adoption import adopt_bundle, finish_adoption
from .configuration import CoordinatorSettings, load_coordinator_settings
from .key_lists import FollowedKeys, read_accept_list, read_operators
from .metrics_server import require_prometheus_client, show_metrics
from .service import CoordinatorService, coordinator_will
from .worker import WorkerService

__all__ = [
    "check_coordinator",
    "go_over",
    "rotate_coordinator_key",
    "run_coordinator",
    "run_worker",
]


def run_coordinator(
    configuration: Path,
    *,
    adopt: bool = False,
    say: Callable[[str], None] = print,
) -> bool:
    """Run the federation's rounds; True when they are over, False when told to end before.

    With `adopt` the state directory first goes over to the configured bundle, where it belongs to
    another one; `say` takes the lines about it.

    SIGINT and SIGTERM end the process, not the federation: started again, it goes on where it was.
    Raises ConfigurationError for what a person must mend, BrokerUnreachable when the broker does
    not answer at the start; a broker that goes away later is waited for.
    """
    settings = load_coordinator_settings(configuration)
    require_prometheus_client(settings.metrics)
    access = open_access(settings.broker, settings.tls, settings.password_file)
    bundle = read_bundle_file(settings.bundle)
    # Before the state is opened: opening it clears what a killed coordinator left.
    with lock_directory(settings.state_dir):
        finish_adoption(settings.state_dir)
        if adopt:
            _adopt(settings, bundle, say)
        identity = load_or_make_identity(settings.key_path)
        link = MqttLink(
            access.address,
            f"{settings.federation}.coordinator",
            will=coordinator_will(settings, bundle, identity),
            options=access.options,
        )
        with show_metrics(settings, bundle) as instruments:
            service = CoordinatorService(
                settings,
                bundle,
                link,
                identity,
                manager=ServiceManager(os.environ),
                instruments=instruments,
            )
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: service.interrupt())
            return service.run()


def go_over(configuration: Path, *, say: Callable[[str], None] = print) -> None:
    """Have the state directory go over to the configured bundle, and do nothing else.

    Errors as above, but for the broker's; ConfigurationError while the coordinator runs.
    """
    settings = load_coordinator_settings(configuration)
    bundle = read_bundle_file(settings.bundle)
    with lock_directory(settings.state_dir):
        _adopt(settings, bundle, say)


def _adopt(settings: CoordinatorSettings, bundle: Bundle, say: Callable[[str], None]) -> None:
    adopted = adopt_bundle(settings.state_dir, bundle)
    for line in adopted.lines if adopted else ["there is no other bundle to go over from"]:
        say(line)


def check_coordinator(configuration: Path) -> CoordinatorSettings:
    """The settings of a coordinator that could start: its files were read as at its start.

    Connects to nobody and writes nothing. Errors as above, but for the broker's.
    """
    settings = load_coordinator_settings(configuration)
    require_prometheus_client(settings.metrics)
    open_access(settings.broker, settings.tls, settings.password_file)
    read_bundle_file(settings.bundle)
    if settings.key_file is not None:
        load_signing_key(settings.key_file)
    if settings.enrolment.devices is not None:
        FollowedKeys(settings.enrolment.devices, read_accept_list, "accept list").look()
    if settings.operators is not None:
        FollowedKeys(settings.operators, read_operators, "list of operators").look()
    return settings


def run_worker(configuration: Path, name: str) -> None:
    """Work for the coordinator that is configured so, until SIGINT or SIGTERM.

    Raises ConfigurationError for what a person must mend, BrokerUnreachable as above.
    """
    check_name("worker", name)
    settings = load_coordinator_settings(configuration)
    if not settings.workers.enabled:
        raise ConfigurationError(
            f"{configuration}: the coordinator works alone; write `[workers]` with "
            "`enabled = true` for both"
        )
    if not settings.key_path.exists():
        raise ConfigurationError(
            f"{settings.key_path} is not there: a worker signs with the coordinator's key; start "
            "the coordinator first, or copy its key here"
        )
    access = open_access(settings.broker, settings.tls, settings.password_file)
    bundle = read_bundle_file(settings.bundle)
    with lock_directory(settings.worker_dir(name)):
        link = MqttLink(
            access.address,
            f"{settings.federation}.worker.{name}",
            # A session that outlives the connection would be given orders that nobody reads.
            options=replace(access.options, session_expiry_s=0),
        )
        service = WorkerService(
            name, settings, bundle, link, load_or_make_identity(settings.key_path)
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: service.interrupt())
        service.run()


def rotate_coordinator_key(configuration: Path) -> str:
    """The public key of a coordinator that is not running, after it was given a new one.

    Raises ConfigurationError while it runs, and for what a person must mend.
    """
    settings = load_coordinator_settings(configuration)
    with lock_directory(settings.state_dir):
        owner = f"{settings.federation}/coordinator"
        return rotate_identity(settings.key_path, owner).key.public
