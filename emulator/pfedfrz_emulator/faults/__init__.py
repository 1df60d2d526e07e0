"""What goes wrong in an emulated fleet on purpose: kills, bad links, slow boards."""

from __future__ import annotations

from .injector import FaultInjector
from .link_conditions import LinkConditions, LinkPath
from .network import EmulatedNetwork
from .profile import FAULTS, Calm, FaultProfile, Flaky, Harsh, find_faults
from .schedule import FaultKind, PlannedFault, Victims, choose_victims, plan_faults
from .slow_members import SlowMembers

__all__ = [
    "FAULTS",
    "Calm",
    "EmulatedNetwork",
    "FaultInjector",
    "FaultKind",
    "FaultProfile",
    "Flaky",
    "Harsh",
    "LinkConditions",
    "LinkPath",
    "PlannedFault",
    "SlowMembers",
    "Victims",
    "choose_victims",
    "find_faults",
    "plan_faults",
]
