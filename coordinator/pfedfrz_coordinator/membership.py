"""`members`: who is let in and who is not, kept true for those who watch."""

from __future__ import annotations

from collections.abc import Iterable

from pfedfrz_protocol import MAX_LISTED, Membership

from .admission import Admission
from .publication import Publication
from .registry import RegistryRow, Standing

__all__ = ["MemberList", "membership"]


def membership(rows: Iterable[RegistryRow], *, joining: bool) -> Membership:
    """What is said of these devices; of each list the first `MAX_LISTED`, in the rows' order."""
    standing: dict[Standing, list[RegistryRow]] = {kind: [] for kind in Standing}
    for row in rows:
        standing[row.standing].append(row)
    return Membership(
        len(standing[Standing.ENROLLED]),
        tuple(row.name for row in standing[Standing.WAITING][:MAX_LISTED]),
        {row.name: row.reason for row in standing[Standing.QUARANTINED][:MAX_LISTED]},
        tuple(row.name for row in standing[Standing.REVOKED][:MAX_LISTED]),
        joining,
    )


class MemberList:
    """The published list of one federation."""

    def __init__(self, admission: Admission, publication: Publication) -> None:
        self._admission = admission
        self._publication = publication
        self._seen: tuple[int, bool] | None = None
        self._told: Membership | None = None

    def tell(self) -> None:
        """Publish the list if it is another than the last one. Call it about once a second."""
        joining = self._admission.is_joining()
        seen = (self._admission.revision, joining)
        if seen == self._seen:
            return
        self._seen = seen
        current = membership(self._admission.rows(), joining=joining)
        if current != self._told:
            self._told = current
            self._publication.members(current)
