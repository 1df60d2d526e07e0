"""What a device has heard of rounds, and whether a word about them counts: decisions only.

Announcements may come late, twice, in any order, or from what a broker held long ago; the end of a
federation may be that of an earlier run.
"""

from __future__ import annotations

from pfedfrz_protocol import Control, DesiredState, RoundAnnouncement

from .session_exchange import Action, AnnouncementSeen, Complain

__all__ = ["AnnouncedRounds"]


class AnnouncedRounds:
    """The newest round announced, and the last one that needs nothing more from this device."""

    def __init__(self, bundle_digest: str, settled: tuple[int, int] | None = None) -> None:
        """`settled` is the (epoch, round) that an earlier life has settled last."""
        self._bundle = bundle_digest
        self._settled: tuple[int, int] = settled or (0, 0)
        self._newest: RoundAnnouncement | None = None
        self._signer = ""
        self._complained_of = ""
        self._heard = False
        """Whether a coordinator has been heard in this life."""

    @property
    def newest(self) -> RoundAnnouncement | None:
        """The newest announcement that was followed."""
        return self._newest

    @property
    def signer(self) -> str:
        """Whose signature models have: that of the newest announcement."""
        return self._signer

    @property
    def round(self) -> int:
        """The number of the newest round; 0 before the first."""
        return self._newest.round if self._newest else 0

    @property
    def epoch(self) -> int:
        """The epoch in which everything is said; 0 before the first round."""
        return self._newest.epoch if self._newest else 0

    def is_news(self, seen: AnnouncementSeen) -> bool:
        """Whether an announcement is not older than what is known."""
        self._heard = True
        new, old = seen.announcement, self._newest
        if old and (new.epoch, new.round) < (old.epoch, old.round):
            return False
        # A broker that was killed may bring back what it held long ago, before the coordinator is
        # there to say its own again. What is said now is followed, whatever was settled in an
        # earlier life: a coordinator whose clock was set back must not be ignored for ever.
        return not (seen.retained and (new.epoch, new.round) < self._settled)

    def is_foreign(self, announcement: RoundAnnouncement) -> bool:
        """Whether the round is one of another bundle."""
        return announcement.bundle != self._bundle

    def refuse(self, announcement: RoundAnnouncement) -> list[Action]:
        """Complain of a foreign bundle, once."""
        bundle = announcement.bundle
        if self._complained_of == bundle:
            return []
        self._complained_of = bundle
        return [
            Complain(
                f"the coordinator runs another bundle ({bundle[:12]}..., this device has "
                f"{self._bundle[:12]}...): its rounds are ignored until both have the same file"
            )
        ]

    def follow(self, seen: AnnouncementSeen) -> None:
        """From now on this announcement is the newest."""
        self._newest, self._signer = seen.announcement, seen.signer

    def settle(self, number: int) -> None:
        """That round needs nothing more from this device, in this epoch."""
        self._settled = (self.epoch, number)

    def is_settled(self, announcement: RoundAnnouncement) -> bool:
        """Whether it is the last settled round that is announced once more."""
        return (announcement.epoch, announcement.round) == self._settled

    def ends_with(self, control: Control, *, retained: bool) -> bool:
        """Whether a control message ends the federation for this device."""
        if control.desired is not DesiredState.STOP:
            self._heard = True
            return False
        # What the broker has held since an earlier run is not for a device that waits for the
        # next. Of a run that this device has seen anything of, the end counts however it comes:
        # the device may have been away from the broker when it was said.
        is_of_an_earlier_run = self._newest is not None and control.epoch < self._newest.epoch
        return not ((retained and not self._heard) or is_of_an_earlier_run)
