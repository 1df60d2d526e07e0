"""A worker as a process: takes uploads that the coordinator orders, and adds them up.

    coordinator ── order ──▶ broker ── to one of the workers ──▶ worker ── grant ──▶ device
                                                                 worker ◀── chunks ── device
    coordinator ◀── held, unfit, goes on ────────────────────────┘
    coordinator ── collect these ──▶ the worker that holds them ── partial sum ──▶ coordinator

It listens to a device's chunks before it publishes the grant, and what a link publishes does not
overtake what it subscribed to. It says that it holds an update when that is flushed to its disk.
It decides nothing about the round: whether an update counts is what the coordinator writes down.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import numpy as np

from pfedfrz_protocol import (
    Bundle,
    CollectOrder,
    Grant,
    ProtocolError,
    RejectReason,
    SharedCodec,
    SumImpossible,
    SumReady,
    Topics,
    UpdateHeld,
    UpdateUnfit,
    UploadGoesOn,
    UploadOrder,
    decode_message,
    describe_transfer,
    open_tensors,
    sign_message,
    split_chunks,
    split_signature,
)
from pfedfrz_protocol.messages import Message as Kind
from pfedfrz_storage import OwnIdentity
from pfedfrz_transport import (
    BulkDone,
    Link,
    LinkDown,
    LinkOverflow,
    LinkUp,
    Message,
    Posted,
    Refused,
)

from .configuration import CoordinatorSettings
from .cores import available_cores
from .granted_upload import GrantedUpload, beyond_room
from .ignored_messages import IgnoredMessages
from .quotas import Quotas
from .round_models import RoundModel
from .validation import Expected, validate_update
from .worker_models import WorkerModels
from .worker_store import HeldHeader, NotHeld, WorkerStore

__all__ = ["WorkerService"]

log = logging.getLogger(__name__)
_IDLE_POLL_S = 1.0
_MOST_THREADS = 8
_TOLD_WITHIN_A_GRANT = 4
"""So often a grant's time is told that chunks are still coming."""


@dataclass(eq=False)
class _Upload:
    order: UploadOrder
    granted: GrantedUpload
    told_s: float = float("-inf")
    is_submitted: bool = False


@dataclass(frozen=True, eq=False)
class _Judged:
    upload: _Upload
    outcome: HeldHeader | BaseException
    is_signed: bool


@dataclass(frozen=True, eq=False)
class _AddedUp:
    order: CollectOrder
    outcome: tuple[int, bytes] | BaseException
    """Samples, and the sum as bytes."""


class WorkerService:
    """One worker over one link."""

    def __init__(
        self,
        name: str,
        settings: CoordinatorSettings,
        bundle: Bundle,
        link: Link,
        identity: OwnIdentity,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`identity` is the coordinator's: its orders are signed with it, and so is the answer."""
        self._name = name
        self._settings = settings
        self._digest = bundle.manifest.digest
        self._link = link
        self._key = identity.key
        self._clock = clock
        self._topics = Topics(settings.federation)
        self._codec = SharedCodec.for_manifest(bundle.manifest)
        parameters = sum(spec.elements for spec in self._codec.layout)
        self._store = WorkerStore(settings.worker_dir(name), parameters)
        self._store.prepare()
        self._models = WorkerModels(self._topics, link, self._codec, identity.key.public)
        self._quotas = Quotas(settings.quotas, clock)
        self._uploads: dict[str, _Upload] = {}
        self._adding = set[tuple[int, int, int]]()
        """(round, epoch, share) of the sums that are being made."""
        self._sending = set[str]()
        """Tags of the sums on their way."""
        self._newest = (0, 0)
        """(epoch, round) of the newest order."""
        threads = min(_MOST_THREADS, available_cores())
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self._ignored = IgnoredMessages()
        self._interrupted = False

    def run(self) -> None:
        """Serve until `interrupt`; BrokerUnreachable when the broker does not answer at first."""
        link = self._link
        link.subscribe(self._topics.worker(self._name, "command"))
        link.subscribe(self._topics.shared_orders)
        link.start()
        try:
            link.wait_until_up(
                self._settings.connect_timeout_s, cancelled=lambda: self._interrupted
            )
            while not self._interrupted:
                self._turn()
        finally:
            self._threads.shutdown()
            link.close()

    def interrupt(self) -> None:
        """End the process; may be called from a signal handler."""
        self._interrupted = True
        self._link.wake()

    def _turn(self) -> None:
        match self._link.poll(_IDLE_POLL_S):
            case Message(topic, payload):
                self._on_message(topic, payload)
            case Posted(_Judged() as judged):
                self._on_judged(judged)
            case Posted(_AddedUp() as added):
                self._on_added_up(added)
            case BulkDone(tag) | Refused(tag=str(tag)):
                self._sending.discard(tag)
            case Refused() as refused:
                log.error("the broker refused: %s", refused)
            case LinkUp():
                log.info("worker %s: connected to the broker", self._name)
            case LinkDown(reason):
                log.warning("lost the broker: %s", reason)
            case _:
                pass

    # What comes in

    def _on_message(self, topic: str, payload: bytes) -> None:
        try:
            chunk = self._topics.parse_update_chunk(topic)
            if chunk is not None:
                self._on_chunk(*chunk, payload)
            elif self._topics.parse_model_chunk(topic) is not None:
                if self._models.take(topic, payload):
                    self._submit_complete()
            elif topic == self._topics.orders:
                self._on_order(self._open(topic, payload, UploadOrder))
            elif topic == self._topics.worker(self._name, "command"):
                self._on_collect(self._open(topic, payload, CollectOrder))
        except ProtocolError as error:
            self._ignored.add(topic, error)

    def _open(self, topic: str, payload: bytes, kind: type[Kind]) -> Kind:
        signed = split_signature(payload)
        if not signed.is_by(self._key.public, topic):
            raise ProtocolError(
                RejectReason.WRONG_SIGNATURE,
                "not signed with the coordinator's key that this worker has; give it the new one",
            )
        return decode_message(signed.body, kind)

    def _on_order(self, order: UploadOrder) -> None:
        if order.bundle != self._digest:
            raise ProtocolError(
                RejectReason.WRONG_BASE,
                f"the coordinator trains the bundle {order.bundle[:12]}..., this worker has "
                f"{self._digest[:12]}...: start it with that one",
            )
        if (order.epoch, order.round) < self._newest:
            raise ProtocolError(RejectReason.LATE, f"an order of round {order.round}, which is old")
        if (order.epoch, order.round) > self._newest:
            self._newest = (order.epoch, order.round)
            self._store.drop_before(order.round)
        held = self._store.find(order.round, order.device, order.transfer.sha256)
        if held is not None:
            # The verdict was lost, or the order came twice.
            self._tell(_held(order, held))
            return
        self._models.want(order.model)
        known = self._uploads.get(order.device)
        if known and _work_of(known.order) == _work_of(order):
            known.order = order
            if known.is_submitted:
                return
            upload = known
        else:
            try:
                granted = GrantedUpload(order.transfer, self._codec.max_sealed_bytes)
            except ProtocolError as error:
                self._refuse(order, error)
                return
            self._forget(order.device)
            upload = self._uploads[order.device] = _Upload(order, granted)
            self._link.subscribe(self._topics.update_chunks(order.device, order.round))
            for old in beyond_room(self._uploads, self._settings.rounds.uploads_at_once):
                self._forget(old)
        self._grant(upload)
        self._submit_complete()

    def _grant(self, upload: _Upload) -> None:
        if upload.granted.is_complete:
            return
        order = upload.order
        topic = self._topics.device(order.device, "command")
        self._publish(topic, Grant(order.round, order.epoch, upload.granted.missing()))

    def _on_chunk(self, device: str, number: int, chunk: int, data: bytes) -> None:
        upload = self._uploads.get(device)
        if upload is None or upload.order.round != number or upload.granted.is_complete:
            return
        order = upload.order
        try:
            upload.granted.take(chunk, data, self._quotas)
        except ProtocolError as error:
            self._forget(device)
            self._refuse(order, error)
            return
        if upload.granted.is_complete:
            self._submit_complete()
        elif self._clock() >= upload.told_s + (
            self._settings.rounds.grant_timeout_s / _TOLD_WITHIN_A_GRANT
        ):
            upload.told_s = self._clock()
            self._tell(UploadGoesOn(order.round, order.epoch, device, order.transfer))

    def _submit_complete(self) -> None:
        """Have judged what is complete and whose model is here."""
        for upload in self._uploads.values():
            if upload.granted.is_complete and not upload.is_submitted:
                model = self._models.find(upload.order.model)
                if model is not None:
                    upload.is_submitted = True
                    self._threads.submit(self._judge, upload, upload.order, model)

    def _judge(self, upload: _Upload, order: UploadOrder, model: RoundModel) -> None:
        """On a thread: from the chunks to an update that is safe on disk."""
        outcome: HeldHeader | BaseException
        is_signed = False
        try:
            payload = open_tensors(upload.granted.reassembly.assemble()).require_signer(order.key)
            is_signed = True
            expected = Expected(order.device, order.round, model.digest, model.vector, exact=True)
            update = validate_update(payload, self._codec, expected, self._settings.validation)
            outcome = HeldHeader(update.samples, update.norm)
            numbers = np.asarray(update.numbers, np.float16)
            self._store.put(order.round, order.device, order.transfer.sha256, outcome, numbers)
        except BaseException as error:  # the loop is who raises it
            outcome = error
        self._link.post(_Judged(upload, outcome, is_signed))

    def _on_judged(self, judged: _Judged) -> None:
        upload, outcome = judged.upload, judged.outcome
        if self._uploads.get(upload.order.device) is upload:
            self._forget(upload.order.device)
        if isinstance(outcome, HeldHeader):
            self._tell(_held(upload.order, outcome))
        elif isinstance(outcome, ProtocolError):
            self._refuse(upload.order, outcome, judged.is_signed)
        else:
            raise outcome

    def _refuse(self, order: UploadOrder, error: ProtocolError, is_signed: bool = False) -> None:
        self._tell(
            UpdateUnfit(
                order.round,
                order.epoch,
                order.device,
                order.transfer,
                error.reason,
                error.detail,
                is_signed,
            )
        )

    def _forget(self, device: str) -> None:
        upload = self._uploads.pop(device, None)
        if upload is not None:
            self._link.unsubscribe(self._topics.update_chunks(device, upload.order.round))

    # Partial sums

    def _on_collect(self, order: CollectOrder) -> None:
        work = (order.round, order.epoch, order.share)
        if work in self._adding or _tag(order) in self._sending:
            return  # it is on its way
        self._adding.add(work)
        self._threads.submit(self._add_up, order)

    def _add_up(self, order: CollectOrder) -> None:
        outcome: tuple[int, bytes] | BaseException
        try:
            total = self._store.add_up(order.round, order.updates)
            outcome = (total.samples, total.encode())
        except BaseException as error:  # the loop is who raises it
            outcome = error
        self._link.post(_AddedUp(order, outcome))

    def _on_added_up(self, added: _AddedUp) -> None:
        order, outcome = added.order, added.outcome
        self._adding.discard((order.round, order.epoch, order.share))
        if isinstance(outcome, NotHeld):
            log.warning("round %d: %s", order.round, outcome)
            self._tell(SumImpossible(order.round, order.epoch, order.share, outcome.devices))
            return
        if isinstance(outcome, BaseException):
            raise outcome
        samples, payload = outcome
        transfer = describe_transfer(payload)
        # Single messages go before chunks, so the coordinator knows what is coming.
        self._tell(SumReady(order.round, order.epoch, order.share, samples, transfer))
        try:
            self._link.publish_bulk(
                [
                    (self._topics.sum_chunk(self._name, order.round, order.share, n), chunk)
                    for n, chunk in enumerate(split_chunks(payload))
                ],
                tag=_tag(order),
            )
            self._sending.add(_tag(order))
        except LinkOverflow as error:
            log.warning("a partial sum was dropped, and will be asked for again: %s", error)

    # What goes out

    def _tell(self, event: msgspec.Struct) -> None:
        self._publish(self._topics.worker(self._name, "event"), event)

    def _publish(self, topic: str, message: msgspec.Struct) -> None:
        try:
            self._link.publish(topic, sign_message(message, topic, self._key))
        except LinkOverflow as error:
            # The grant expires, or the sum is asked for again.
            log.warning("a message on %s was dropped: %s", topic, error)


def _work_of(order: UploadOrder) -> tuple[object, ...]:
    """What makes two orders the same work: a round that was opened again changes the epoch."""
    return (order.round, order.key, order.transfer, order.model)


def _held(order: UploadOrder, held: HeldHeader) -> UpdateHeld:
    return UpdateHeld(
        order.round, order.epoch, order.device, order.transfer, held.samples, held.norm
    )


def _tag(order: CollectOrder) -> str:
    return f"sum/{order.round}/{order.epoch}/{order.share}"
