"""A whole fleet in one process over the in-memory link: the same coordinator, devices and bytes.

For tests, for parity with other ways of running, and for a look without any broker. Devices are
threads; what they compute and send is what their processes would compute and send.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from pfedfrz_coordinator.configuration import CoordinatorSettings
from pfedfrz_coordinator.service import CoordinatorService, coordinator_will
from pfedfrz_edge.agent import DeviceAgent
from pfedfrz_edge.configuration import DataSettings, DeviceSettings
from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.publisher import device_will
from pfedfrz_edge.runtimes import load_runtime
from pfedfrz_protocol import OperationError
from pfedfrz_storage import load_or_make_identity
from pfedfrz_transport import MemoryBroker, MemoryLink

from .attacks import AttackOrders, DeviceAttacker
from .preparation import PreparedDevice, PreparedFleet

__all__ = ["MemoryFleet"]

_JOIN_S = 30.0


@dataclass
class MemoryFleet:
    """Runs a prepared fleet on threads of this process."""

    fleet: PreparedFleet
    directory: Path
    """Where coordinator and devices keep their state."""
    federation: str = "memory"
    broker: MemoryBroker = field(default_factory=MemoryBroker)

    def run(self) -> None:
        """All rounds, from beginning to end; OperationError when a member fails."""
        faults: list[tuple[str, BaseException]] = []
        agents = [self._agent(device) for device in self.fleet.devices]
        service = self._service()

        def guarded(name: str, run: object) -> threading.Thread:
            def body() -> None:
                try:
                    run()  # type: ignore[operator]
                except BaseException as error:
                    faults.append((name, error))
                    service.interrupt()

            thread = threading.Thread(target=body, name=name, daemon=True)
            thread.start()
            return thread

        threads = [
            guarded(device.name, agent.run)
            for device, agent in zip(self.fleet.devices, agents, strict=True)
        ]
        try:
            service.run()
        finally:
            for agent in agents:
                agent.interrupt()
            for thread in threads:
                thread.join(_JOIN_S)
        if faults:
            name, error = faults[0]
            raise OperationError(f"{name} failed: {error}") from error

    @property
    def state_dir(self) -> Path:
        """The coordinator's state."""
        return self.directory / "coordinator"

    def device_dir(self, name: str) -> Path:
        """A device's state."""
        return self.directory / name

    def _service(self) -> CoordinatorService:
        experiment = self.fleet.experiment
        settings = CoordinatorSettings(
            federation=self.federation,
            bundle=Path("unused"),
            state_dir=self.state_dir,
            aggregation=experiment.aggregation,
            rounds=experiment.round_policy(),
        )
        identity = load_or_make_identity(settings.key_path)
        will = coordinator_will(settings, self.fleet.bundle, identity)
        link = MemoryLink(self.broker, "coordinator", will=will)
        return CoordinatorService(settings, self.fleet.bundle, link, identity)

    def _agent(self, device: PreparedDevice) -> DeviceAgent:
        fleet, experiment = self.fleet, self.fleet.experiment
        settings = DeviceSettings(
            federation=self.federation,
            device=device.name,
            bundle=Path("unused"),
            state_dir=self.device_dir(device.name),
            data=DataSettings("unused"),
            runtime=device.runtime,
            seed=experiment.seed,
            encoding=experiment.encoding,
            exit_when_stopped=True,
        )
        data = LocalData(
            LabelledData(device.train_x, device.train_y),
            LabelledData(fleet.test_inputs(device), fleet.test_y),
            fleet.bundle.manifest.input.classes,
        )
        boot_id = f"memory-{device.name}"
        identity = load_or_make_identity(settings.key_path)
        will = device_will(settings, fleet.bundle, boot_id, identity)
        link = MemoryLink(self.broker, device.name, will=will)
        return DeviceAgent(
            settings,
            fleet.bundle,
            load_runtime(device.runtime, fleet.bundle),
            data,
            link,
            boot_id,
            identity,
            tamper=self._attacker(device) if device.attacker else None,
        )

    def _attacker(self, device: PreparedDevice) -> DeviceAttacker:
        names = tuple(other.name for other in self.fleet.devices if other.attacker)
        experiment = self.fleet.experiment
        orders = AttackOrders(experiment.attack, names, self.directory / "collusion")
        return DeviceAttacker(orders, device.name, experiment.seed)
