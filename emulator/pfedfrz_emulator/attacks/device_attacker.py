"""The attacker in a real device: what the tampering hook of pfedfrz_edge.worker calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from pfedfrz_edge.data import LabelledData, LocalData
from pfedfrz_edge.local_training import LocalTraining
from pfedfrz_protocol import Group, Parameters, RoundAnnouncement
from pfedfrz_storage import read_configuration

from .attacker import Attacker
from .collusion import Collusion
from .registry import find_attack
from .scaled_gradients import ScaledGradients

__all__ = ["AttackOrders", "DeviceAttacker", "load_orders"]

_SHARE_OF_DEADLINE = 0.25
"""How much of a round's time an attacker waits for its fellows at most."""


class AttackOrders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the attackers of a fleet are told; `attack.toml` in a run's directory."""

    attack: str
    """`NAME:KEY=VALUE,...`."""
    attackers: tuple[str, ...]
    """The names of all attackers of the fleet."""
    collusion: Path
    """The folder in which they meet; as read from a file, relative to it."""

    def __post_init__(self) -> None:
        find_attack(self.attack)


def load_orders(path: Path) -> AttackOrders:
    """The orders in a TOML file; ConfigurationError names the file and what is wrong."""
    orders = read_configuration(path, AttackOrders)
    return msgspec.structs.replace(orders, collusion=path.parent / orders.collusion)


class DeviceAttacker:
    """The tampering hook of one device; see pfedfrz_edge.worker.Tamper."""

    def __init__(self, orders: AttackOrders, device: str, seed: int) -> None:
        self._attacker = Attacker(find_attack(orders.attack), device, seed)
        self._fellows = frozenset(orders.attackers)
        self._collusion = Collusion(orders.collusion)
        self._poisoned: tuple[LabelledData, LabelledData] | None = None
        """What was poisoned last, and what it became."""

    def prepare(self, announcement: RoundAnnouncement, training: LocalTraining) -> LocalTraining:
        """The training on poisoned data and with negated gradients, where that is the attack."""
        number = announcement.round
        if not self._attacker.attacks_in(number):
            return training
        data = replace(training.data, train=self._poison(training.data))
        factor = self._attacker.gradient_factor(number)
        if factor == 1.0:
            return replace(training, data=data)
        shared = [spec.name for spec in training.manifest.layout(Group.SHARED)]
        runtime = ScaledGradients(training.runtime, factor, shared)
        return replace(training, data=data, runtime=runtime)

    def _poison(self, data: LocalData) -> LabelledData:
        if self._poisoned is None or self._poisoned[0] is not data.train:
            arrays = self._attacker.poison(data.train.x, data.train.y, data.classes)
            self._poisoned = data.train, LabelledData(*arrays)
        return self._poisoned[1]

    def upload(
        self,
        announcement: RoundAnnouncement,
        received: Parameters,
        trained: Parameters,
        cancelled: Callable[[], bool],
    ) -> Parameters:
        """What the attack makes of it; colluding attackers meet first."""
        attacker, number = self._attacker, announcement.round
        fellows = self._fellows.intersection(announcement.selected)
        known: tuple[Parameters, ...] = ()
        if attacker.attack.colludes and attacker.attacks_in(number):
            known = self._collusion.share(
                number,
                announcement.model.digest,
                attacker.device,
                trained,
                fellows,
                patience_s=_SHARE_OF_DEADLINE * announcement.deadline_s,
                cancelled=cancelled,
            )
        return attacker.tamper(
            number,
            received,
            trained,
            known=known,
            participants=len(announcement.selected),
            attackers=len(fellows),
        )
