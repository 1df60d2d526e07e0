"""What a fault profile means for one fleet: its network, its victims, its plan."""

from __future__ import annotations

from types import TracebackType

from pfedfrz_protocol import ConfigurationError

from .brokers import RunningBroker
from .experiment import Experiment
from .faults import (
    EmulatedNetwork,
    FaultInjector,
    LinkConditions,
    SlowMembers,
    choose_victims,
    plan_faults,
)
from .fleet import COORDINATOR, Fleet
from .preparation import PreparedFleet

__all__ = ["FaultSetting", "check_broker"]


def check_broker(experiment: Experiment, broker: str) -> None:
    """ConfigurationError for faults on a broker that is somebody else's."""
    if "://" in broker and not experiment.resolve_faults().is_calm:
        raise ConfigurationError(
            f"faults {experiment.faults} needs a broker of its own, to kill it and to come between "
            "it and its clients; leave --broker out, or use --faults calm"
        )


class FaultSetting:
    """The faults of one run; a context manager that holds the emulated network.

    Calm, it is nothing at all: members then talk to the broker itself.
    """

    def __init__(self, fleet: PreparedFleet, broker: RunningBroker) -> None:
        self._profile = fleet.experiment.resolve_faults()
        self._broker = broker
        self._rounds = fleet.experiment.rounds
        self._seed = fleet.experiment.seed
        self._devices = tuple(device.name for device in fleet.devices)
        self._victims = choose_victims(self._profile, self._devices, self._seed)
        self._network: EmulatedNetwork | None = None
        self.urls: dict[str, str] = {}
        """Where each member finds the broker; empty where that is the broker's own address."""

    def __enter__(self) -> FaultSetting:
        if not self._profile.is_calm:
            members = (COORDINATOR, *self._devices)
            links = dict.fromkeys(members, LinkConditions())
            links.update(dict.fromkeys(self._victims.bad_links, self._profile.bad_link))
            network = EmulatedNetwork(self._broker.address, links, self._seed)
            self._network = network.__enter__()
            self.urls = {name: network.url(name) for name in members}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._network is not None:
            self._network.__exit__(kind, error, trace)

    def injector(self, members: Fleet) -> FaultInjector | None:
        """Who does what is planned for this run; None when it is calm."""
        if self._profile.is_calm:
            return None
        plan = plan_faults(self._profile, self._devices, self._rounds, self._seed)
        return FaultInjector(plan, members, self._broker, self._network)

    def slow_members(self, members: Fleet) -> SlowMembers:
        """What holds the slow devices up while it is entered."""
        return SlowMembers(members, self._victims.slow, self._profile.slowdown)
