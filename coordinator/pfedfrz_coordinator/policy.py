"""How rounds are run: the part of the configuration that the engine decides by."""

from __future__ import annotations

import math

import msgspec

from pfedfrz_protocol import ConfigurationError

__all__ = ["RoundPolicy"]


class RoundPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How rounds are run."""

    rounds: int = 10
    start_devices: int = 1
    """Devices to wait for before the first round of this coordinator's life."""
    start_timeout_s: float = 60.0
    """After this time the first round opens with `min_devices` or more."""
    min_devices: int = 1
    """Devices that must be there for a round to open."""
    max_devices: int = 20_000
    """Devices that are kept track of; made-up names beyond that cost no memory."""
    participants: int = 0
    """Devices selected for a round; 0 selects all that are there."""
    overselect: float = 0.0
    """Share of devices asked beyond `participants`; the first `participants` updates close the
    round, so that it does not wait for stragglers."""
    buffer: int = 0
    """So many updates make a new model at once, whoever is still busy (FedBuff); 0 waits for the
    round's devices."""
    max_staleness: int = 10
    """With a buffer: how many rounds late an update may be."""
    staleness_exponent: float = 0.5
    """With a buffer: the step of an update that is t rounds late counts (1 + t) ** -this."""
    quorum: float = 0.5
    """Share of the selected devices whose updates a round needs at its deadline."""
    deadline_s: float = 300.0
    uploads_at_once: int = 8
    grant_timeout_s: float = 60.0
    """A granted upload that has not arrived by then gives its place to the next."""
    evaluate: bool = True
    """Whether a closing round measures the last model on every device."""
    seed: int = 0

    @property
    def stale_rounds(self) -> int:
        """For how many rounds an update stays welcome."""
        return self.max_staleness if self.buffer else 0

    @property
    def places(self) -> int:
        """How many devices are asked; 0 for all that are there."""
        return math.ceil(self.participants * (1 + self.overselect))

    @property
    def enough(self) -> int:
        """The updates that close a round before everybody has answered; 0 for never."""
        return self.buffer or (self.participants if self.overselect else 0)

    def __post_init__(self) -> None:
        faults = [
            f"{name} = {getattr(self, name)!r} (want {want})"
            for name, want, fits in (
                ("rounds", "1 or more", self.rounds >= 1),
                ("start_devices", "1 or more", self.start_devices >= 1),
                ("start_timeout_s", "0 or more", self.start_timeout_s >= 0),
                ("min_devices", "1 or more", self.min_devices >= 1),
                ("max_devices", "1 or more", self.max_devices >= 1),
                ("participants", "0 or more", self.participants >= 0),
                ("overselect", "0 to 10", 0 <= self.overselect <= 10),
                ("buffer", "0 or more", self.buffer >= 0),
                ("max_staleness", "0 to 1000", 0 <= self.max_staleness <= 1000),
                ("staleness_exponent", "0 to 10", 0 <= self.staleness_exponent <= 10),
                ("quorum", "above 0 and at most 1", 0 < self.quorum <= 1),
                ("deadline_s", "above 0 and at most 1e9", 0 < self.deadline_s <= 1e9),
                ("uploads_at_once", "1 or more", self.uploads_at_once >= 1),
                ("grant_timeout_s", "above 0", self.grant_timeout_s > 0),
            )
            if not fits
        ]
        if self.overselect and not self.participants:
            faults.append("overselect without participants: say how many updates are enough")
        if self.overselect and self.buffer:
            faults.append("overselect and buffer exclude each other")
        if faults:
            raise ConfigurationError("[rounds] " + "; ".join(faults))
