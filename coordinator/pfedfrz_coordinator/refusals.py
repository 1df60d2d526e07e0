"""Updates that were refused and whose devices do not know it yet."""

from __future__ import annotations

from dataclasses import dataclass

from pfedfrz_protocol import Rejected, RejectReason

from .journal import Journal

__all__ = ["Refusals"]


@dataclass(frozen=True)
class _Refused:
    payload_bytes: int
    is_signed: bool
    """What chunks alone are refused for may be a stranger's doing, and is not held against it."""


class Refusals:
    """From the fault that was found to the verdict that is written down."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._refused: dict[str, _Refused] = {}

    def add(self, device: str, payload_bytes: int, *, is_signed: bool) -> None:
        """An update of the device was refused; `is_signed` says that it is provably its own."""
        self._refused[device] = _Refused(payload_bytes, is_signed)

    def write_down(self, device: str, verdict: Rejected) -> bool:
        """Put a verdict into the journal before it is sent; whether it is held against the device.

        Offers that are late, come twice or are nobody's turn are answered and not written down:
        whoever makes them up shall not fill the disk.
        """
        refused = self._refused.pop(device, None)
        if verdict.reason is RejectReason.WRONG_BASE:
            refused = refused or _Refused(0, is_signed=True)  # so it said in its offer
        if refused is None:
            return False
        self._journal.reject(
            verdict.round, device, verdict.reason, verdict.detail, refused.payload_bytes
        )
        return refused.is_signed

    def clear(self) -> None:
        """Told by now, or of a round that was closed meanwhile: no later verdict is about them."""
        self._refused.clear()
