"""Uploads under way: from what the engine expects to updates that are lasting, or refused.

Chunks come here, or the verdicts of workers that take the chunks instead. What is complete is
judged beside the loop (`acceptance.py`), and what has passed is made lasting in groups. An upload
is known by itself, not by its device: a verdict on one that has gone since changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from pfedfrz_protocol import (
    Grant,
    ProtocolError,
    SharedCodec,
    TransferReference,
    UpdateHeld,
    UpdateUnfit,
    UploadGoesOn,
    UploadOrder,
)

from .acceptance import AcceptancePool, Judged, Passed
from .admission import Admission
from .engine import RoundEngine
from .engine_exchange import Event, UpdateRefused, UpdatesStored, UpdateStored, UploadProgressed
from .granted_upload import GrantedUpload, beyond_room
from .journal import Holding
from .policy import RoundPolicy
from .refusals import Refusals
from .round_models import RoundModels
from .staleness import Staleness, staleness_weight
from .state import CoordinatorState
from .validation import Expected
from .work_desk import WorkDesk

__all__ = ["UploadDesk"]

_GROUP_WAIT_S = 0.005
"""For so long, updates that are ready wait for others to be made lasting together."""
_LARGEST_GROUP = 64


@dataclass(eq=False)
class _Upload:
    """A granted upload under way."""

    round: int
    granted: GrantedUpload
    has_verdict: bool = False
    """A worker has said what it is worth."""
    judged_into: int | None = None
    """The round for which it is being judged now."""


class UploadDesk:
    """The uploads of one federation."""

    def __init__(
        self,
        codec: SharedCodec,
        bundle: str,
        engine: RoundEngine,
        models: RoundModels,
        state: CoordinatorState,
        admission: Admission,
        acceptance: AcceptancePool,
        workers: WorkDesk | None,
        refusals: Refusals,
        rounds: RoundPolicy,
        feed: Callable[[Event], None],
        *,
        exact: bool,
    ) -> None:
        """`workers` take the chunks where there are any; `feed` takes the engine's events."""
        self._codec = codec
        self._bundle = bundle
        self._engine = engine
        self._models = models
        self._state = state
        self._admission = admission
        self._acceptance = acceptance
        self._workers = workers
        self._refusals = refusals
        self._rounds = rounds
        self._feed = feed
        self._exact = exact
        self._uploads: dict[str, _Upload] = {}
        self._passed: list[Judged] = []
        """Valid updates that are not lasting yet."""
        self._passed_since_s = 0.0

    # What the engine decides

    def expect(self, device: str, number: int, transfer: TransferReference) -> None:
        """Take an update of that round from the device, beginning with what is here of it."""
        known = self._uploads.pop(device, None)
        try:
            if known and (known.round, known.granted.transfer) == (number, transfer):
                if known.judged_into == self._engine.round:
                    self._uploads[device] = known  # said again while it is judged
                    return
                # A worker is asked again, and again says that it has it.
                upload = _Upload(number, known.granted)
            else:
                upload = _Upload(number, GrantedUpload(transfer, self._codec.max_sealed_bytes))
        except ProtocolError as error:
            self._refuse(device, number, error, 0)
            return
        self._uploads[device] = upload
        for old in beyond_room(self._uploads, self._rounds.uploads_at_once, self._is_awaited):
            del self._uploads[old]
        if self._workers is not None:
            self._order(self._workers, device, upload)
        elif upload.granted.is_complete:
            # It came while the round before was open; all that changes is what it counts for.
            self._judge(device, upload)

    def fill_in(self, device: str, grant: Grant) -> Grant | None:
        """The grant with what is still to be sent; None when nobody is to be told.

        What came before the link was lost, or before a grant expired, is not asked again. Where
        there are workers, one of them grants, once it listens.
        """
        if self._workers is not None:
            return None
        upload = self._uploads.get(device)
        if upload is None:
            return grant
        if upload.granted.is_complete:
            return None
        return msgspec.structs.replace(grant, chunks=upload.granted.missing())

    def drop_before(self, oldest: int) -> None:
        """Forget uploads of rounds before that one."""
        self._uploads = {d: u for d, u in self._uploads.items() if u.round >= oldest}

    def forget(self, device: str) -> None:
        """Forget what has come of the device's upload, if there is one."""
        self._uploads.pop(device, None)

    # What comes in

    def on_chunk(self, device: str, number: int, chunk: int, data: bytes) -> None:
        """A chunk of an update; one that nobody waits for is passed over."""
        upload = self._uploads.get(device)
        if upload is None or upload.round != number or upload.granted.is_complete:
            return
        if not self._engine.awaits_upload(device, number):
            return  # the grant has expired, or the device has failed since: it is asked again
        quotas = self._admission.quotas
        quotas.count(device, len(data))
        try:
            upload.granted.take(chunk, data, quotas)
        except ProtocolError as error:
            self._refuse(device, number, error, upload.granted.transfer.payload_bytes)
            return
        self._feed(UploadProgressed(device, number))
        if upload.granted.is_complete:
            self._judge(device, upload)

    def on_worker(self, worker: str, event: UpdateHeld | UpdateUnfit | UploadGoesOn) -> None:
        """A worker's word on an upload that it was given."""
        device, number = event.device, event.round
        upload = self._uploads.get(device)
        if (
            upload is None
            or (upload.round, upload.granted.transfer) != (number, event.transfer)
            or not self._engine.awaits_upload(device, number)
        ):
            return  # the grant has expired, or another worker was quicker
        size = event.transfer.payload_bytes
        outcome: Passed | ProtocolError
        is_signed = False
        match event:
            case UpdateHeld(samples=samples, norm=norm):
                holding = Holding(worker, event.transfer.sha256)
                outcome = Passed(device, samples, norm, size, None, number, 0, holding)
            case UpdateUnfit(reason=reason, detail=detail, is_signed=is_signed):
                outcome = ProtocolError(reason, detail)
            case _:
                self._feed(UploadProgressed(device, number))
                return
        if not upload.has_verdict:
            upload.has_verdict = True
            self._admission.quotas.count(device, size)
            self.on_judged(Judged(upload, device, number, size, outcome, is_signed))

    def on_judged(self, judged: Judged) -> None:
        """What has become of an upload; raises what went wrong here, by no fault of the device."""
        device, number, outcome = judged.device, judged.round, judged.outcome
        wanted = self._uploads.get(device) is judged.upload
        if isinstance(outcome, Passed):
            if self._is_wanted(judged):
                if not self._passed:
                    self._passed_since_s = time.monotonic()
                self._passed.append(judged)
            else:
                self._throw_away(judged, outcome)
        elif isinstance(outcome, ProtocolError):
            if wanted:
                self._refuse(device, number, outcome, judged.payload_bytes, judged.is_signed)
        elif self._is_wanted(judged):
            raise outcome
        else:
            # The round was closed meanwhile, and its folder with it.
            self._no_longer_judged(judged)

    # What has passed

    def patience_s(self) -> float | None:
        """For how long to wait for others before what is ready is made lasting; None if nothing."""
        if self._passed:
            if len(self._passed) >= min(_LARGEST_GROUP, len(self._uploads)):
                return 0.0
            return max(0.0, self._passed_since_s + _GROUP_WAIT_S - time.monotonic())
        return _GROUP_WAIT_S if self._state.journal.holds else None

    def make_lasting(self) -> None:
        """Everything that is ready, on disk and in the journal before anybody is told."""
        passed, self._passed = self._passed, []
        groups: dict[int, list[Passed]] = {}
        for judged in passed:
            outcome = judged.outcome
            assert isinstance(outcome, Passed)
            # A device may have been barred, or its grant have gone, since it was judged.
            if self._is_wanted(judged):
                del self._uploads[judged.device]
                groups.setdefault(outcome.into, []).append(outcome)
            else:
                self._throw_away(judged, outcome)
        for number, group in groups.items():
            self._state.accept_all(number, group)
            for each in group:
                self._admission.count_accepted(each.device)
            stored = tuple(UpdateStored(each.device, number - each.stale) for each in group)
            self._feed(UpdatesStored(stored))
        self._state.journal.flush()

    # Inside

    def _is_awaited(self, device: str) -> bool:
        return self._engine.awaits_upload(device, self._uploads[device].round)

    def _is_wanted(self, judged: Judged) -> bool:
        device = judged.device
        return self._uploads.get(device) is judged.upload and self._engine.awaits_upload(
            device, judged.round
        )

    def _order(self, workers: WorkDesk, device: str, upload: _Upload) -> None:
        try:
            key = self._admission.key_of(device)
        except ProtocolError as error:
            self._refuse(device, upload.round, error, 0)
            return
        order = UploadOrder(
            upload.round,
            self._engine.epoch,
            self._bundle,
            device,
            key,
            upload.granted.transfer,
            self._models.reference,
        )
        workers.order(order)

    def _judge(self, device: str, upload: _Upload) -> None:
        """Have a complete upload judged, for the round that is open now."""
        number = upload.round
        try:
            key = self._admission.key_of(device)
        except ProtocolError as error:
            self._refuse(device, number, error, upload.granted.transfer.payload_bytes)
            return
        base, staleness = self._models.base_of(number), self._staleness_of(number)
        expected = Expected(device, number, base.digest, base.vector, self._exact, staleness)
        upload.judged_into = expected.into
        self._acceptance.submit(upload, upload.granted.reassembly, key, expected)

    def _staleness_of(self, number: int) -> Staleness | None:
        late = self._engine.round - number
        if late <= 0:
            return None
        weight = staleness_weight(late, self._rounds.staleness_exponent)
        return Staleness(late, weight, self._models.base_of(self._engine.round).vector)

    def _refuse(
        self, device: str, number: int, error: ProtocolError, size: int, is_signed: bool = False
    ) -> None:
        self.forget(device)
        self._refusals.add(device, size, is_signed=is_signed)
        self._feed(UpdateRefused(device, number, error.reason, error.detail))

    def _throw_away(self, judged: Judged, passed: Passed) -> None:
        self._no_longer_judged(judged)
        self._state.updates.discard(passed.written)

    def _no_longer_judged(self, judged: Judged) -> None:
        upload = self._uploads.get(judged.device)
        if upload is not None and upload is judged.upload:
            upload.judged_into = None
