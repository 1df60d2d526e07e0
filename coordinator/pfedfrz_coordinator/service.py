"""The coordinator as a process: one loop that feeds the engine and executes what it decides.

Every message from the network passes the gate (`admission.py`) before anything else sees it: what
does not decode, or is not signed by the device on whose topic it came, is counted and logged, never
raised. Everything that leaves is signed with the coordinator's key.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from pfedfrz_protocol import (
    CHUNK_BYTES,
    Bundle,
    BundleInstalled,
    BundleRefused,
    Command,
    Control,
    CoordinatorStatus,
    DesiredState,
    DeviceEvent,
    Evaluated,
    Grant,
    Heartbeat,
    ModelLabel,
    ModelReference,
    NotAdmitted,
    Parameters,
    PhaseProgress,
    Presence,
    ProtocolError,
    Purpose,
    Reassembly,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    RoundFailed,
    SharedCodec,
    Topics,
    TransferReference,
    UpdateHeld,
    UpdateReady,
    UpdateUnfit,
    UploadOrder,
    describe_transfer,
    seal_tensors,
    sign_message,
    spans_of,
    split_chunks,
    tensors_digest,
)
from pfedfrz_storage import OwnIdentity
from pfedfrz_transport import (
    Link,
    LinkDown,
    LinkOverflow,
    LinkUp,
    Message,
    Posted,
    Refused,
    ServiceManager,
    Will,
)

from .acceptance import AcceptancePool, Judged, Passed
from .admission import Admission
from .aggregation import Mean, find_rule
from .bundle_offering import load_offered, publish_offer
from .configuration import CoordinatorSettings
from .device_bundles import DeviceBundles
from .engine import RoundEngine, StartingPoint
from .engine_exchange import (
    Action,
    Aggregate,
    AggregationDone,
    CloseRound,
    ControlRequested,
    DeviceAppeared,
    DeviceBarred,
    DeviceFailed,
    DeviceHeard,
    DeviceLost,
    DeviceWaits,
    EvaluationReported,
    Event,
    ExpectUpload,
    Finish,
    Note,
    OpenRound,
    SendCommand,
    Tick,
    UpdateOffered,
    UpdateRefused,
    UpdatesLost,
    UpdatesStored,
    UpdateStored,
    UploadProgressed,
)
from .flat import flatten
from .journal import Holding
from .registry import Registry
from .staleness import Staleness, staleness_weight
from .state import CoordinatorState
from .validation import Expected
from .work_desk import WorkDesk

__all__ = ["CoordinatorService", "coordinator_will"]

log = logging.getLogger(__name__)
_IDLE_POLL_S = 1.0
_LOOK_FOR_CHANGES_S = 1.0
_PARTS_FOR_EACH_PLACE = 4
_GROUP_WAIT_S = 0.005
"""For so long, updates that are ready wait for others to be made lasting together."""
_LARGEST_GROUP = 64


def coordinator_will(settings: CoordinatorSettings, bundle: Bundle, identity: OwnIdentity) -> Will:
    """What the broker says of a coordinator that vanished."""
    status = _status(Presence.OFFLINE, bundle.manifest.digest, 0, identity)
    topic = Topics(settings.federation).coordinator_status
    return Will(topic, sign_message(status, topic, identity.key))


def _status(
    presence: Presence, bundle: str, epoch: int, identity: OwnIdentity
) -> CoordinatorStatus:
    return CoordinatorStatus(presence, bundle, epoch, identity.key.public, identity.successions)


@dataclass(frozen=True)
class _Refused:
    """An update that was refused and whose device does not know it yet."""

    payload_bytes: int
    is_signed: bool
    """What chunks alone are refused for may be a stranger's doing, and is not held against it."""


@dataclass
class _Upload:
    """A granted upload under way."""

    round: int
    reassembly: Reassembly
    received_bytes: int = 0
    """Of chunks, those that came twice included."""
    is_complete: bool = False
    """All is there and was handed over to be judged."""
    judged_into: int | None = None
    """The round for which it is being judged now."""


class CoordinatorService:
    """Runs one federation over one link."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        bundle: Bundle,
        link: Link,
        identity: OwnIdentity,
        *,
        clock: Callable[[], float] = time.monotonic,
        manager: ServiceManager | None = None,
    ) -> None:
        """Recover from the state directory; ConfigurationError when it does not fit the bundle."""
        self._settings = settings
        self._identity = identity
        self._bundle = bundle
        self._digest = bundle.manifest.digest
        self._link = link
        self._clock = clock
        self._manager = manager or ServiceManager()
        self._rule = find_rule(settings.aggregation)
        self._topics = Topics(settings.federation)
        self._codec = SharedCodec.for_manifest(bundle.manifest)
        self._exact = isinstance(self._rule, Mean) and self._rule.exact
        self._state = CoordinatorState(
            settings.state_dir,
            bundle,
            stale_rounds=settings.rounds.stale_rounds,
            exact=self._exact,
            workers=settings.workers.enabled,
        )
        self._desk: WorkDesk | None = None
        """To the workers, where these take the updates."""
        if settings.workers.enabled:
            self._desk = WorkDesk(
                self._topics,
                link,
                identity.key,
                parameters=sum(spec.elements for spec in self._codec.layout),
                collect_timeout_s=settings.workers.collect_timeout_s,
                clock=clock,
            )
        self._registry = Registry(settings.state_dir)
        self._device_bundles = DeviceBundles(settings.state_dir)
        self._admission = Admission(
            self._registry,
            settings.federation,
            clock,
            enrolment=settings.enrolment,
            quarantine=settings.quarantine,
            quotas=settings.quotas,
            max_devices=settings.rounds.max_devices,
        )
        self._looked_for_changes_s = clock()
        recovered = self._state.recover()
        self._shared: Parameters = recovered.shared
        self._bases = {
            number: (tensors_digest(model), flatten(model, self._codec.layout))
            for number, model in recovered.recent
        }
        """Digest and vector of the model that a recent round began with."""
        self._payload = b""
        self._published_version: int | None = None
        start = StartingPoint(
            self._describe_model(recovered.version),
            recovered.epoch,
            recovered.completed,
            recovered.accepted,
            recovered.owing,
            recovered.late,
            recovered.counted,
            tuple((number, digest) for number, (digest, _) in self._bases.items()),
        )
        self._model = start.model
        self._engine = RoundEngine(
            settings.rounds,
            self._digest,
            start,
            clock(),
            fewest_updates=self._rule.fewest_clients,
        )
        self._acceptance = AcceptancePool(
            self._codec, settings.validation, self._state.updates, link.post
        )
        self._passed: list[Judged] = []
        """Valid updates that are not lasting yet."""
        self._passed_since_s = 0.0
        self._uploads: dict[str, _Upload] = {}
        self._refused: dict[str, _Refused] = {}
        """Payload sizes of refused updates whose verdict is not sent yet."""
        self._events: deque[Event] = deque()
        self.ignored: Counter[RejectReason] = Counter()
        """Messages that were not listened to, by reason, since the last round was closed."""
        self._occurrences: Counter[str] = Counter()
        self._finished = False
        self._interrupted = False

    def run(self) -> bool:
        """Serve until the rounds are over and everybody can know (True), or not (False).

        False means that a later start has something left to do: `interrupt` was called, or the
        broker was away when the end should have been told.
        """
        topics, link = self._topics, self._link
        self._announce_presence(Presence.ONLINE)
        self._publish_state(topics.control, Control(DesiredState.RUN, self._engine.epoch))
        for leaf in ("status", "event", "heartbeat"):
            link.subscribe(topics.every_device(leaf))
        if self._desk is None:
            link.subscribe(topics.every_update_chunk)
        else:
            self._desk.subscribe()
        self._offer_bundle()
        link.start()
        try:
            link.wait_until_up(
                self._settings.connect_timeout_s, cancelled=lambda: self._interrupted
            )
            while not (self._finished or self._interrupted):
                self._turn()
            self._wait_for_link()
        finally:
            self._manager.stopping()
            self._acceptance.close()
            self._announce_presence(Presence.OFFLINE)
            delivered = link.close()
            self._admission.write_down_traffic()
            self._registry.close()
            self._device_bundles.close()
            self._state.journal.close()
        if not delivered:
            log.warning("the link closed before everything was delivered; start again to tell it")
        return self._finished and delivered

    def _wait_for_link(self) -> None:
        """The end must be heard: a broker that is away just now is waited for."""
        deadline = self._clock() + self._settings.connect_timeout_s
        while not (self._link.is_up or self._interrupted) and self._clock() < deadline:
            self._link.poll(_IDLE_POLL_S)

    def interrupt(self) -> None:
        """End the process without ending the federation; may be called from a signal handler."""
        self._interrupted = True
        self._link.wake()

    def request(self, desired: DesiredState) -> None:
        """Pause, resume or stop the federation; may be called from any thread."""
        self._link.post(ControlRequested(desired))

    def _announce_presence(self, presence: Presence) -> None:
        status = _status(presence, self._digest, self._engine.epoch, self._identity)
        self._publish_state(self._topics.coordinator_status, status)

    def _offer_bundle(self) -> None:
        journal = self._state.journal
        publish_offer(
            self._link,
            self._topics,
            self._identity.key,
            self._bundle,
            load_offered(journal),
            self._settings.bundle_updates,
            is_first_start=not journal.rounds(),
        )

    def _publish_state(self, topic: str, message: msgspec.Struct) -> None:
        self._link.publish_retained(topic, sign_message(message, topic, self._identity.key))

    # The loop

    def _turn(self) -> None:
        due = self._engine.wake_at_s()
        collecting = None if self._desk is None else self._desk.wake_at_s()
        if collecting is not None:
            due = collecting if due is None else min(due, collecting)
        longest = min(_IDLE_POLL_S, self._manager.longest_wait_s)
        wait = longest if due is None else min(longest, max(0.0, due - self._clock()))
        patience = self._patience_s()
        event = self._link.poll(wait if patience is None else min(wait, patience))
        match event:
            case Message(topic, payload):
                self._on_message(topic, payload)
            case Posted(Judged() as judged):
                self._on_judged(judged)
            case Posted(ControlRequested() as request):
                control = Control(request.desired, self._engine.epoch)
                self._publish_state(self._topics.control, control)
                self._events.append(request)
            case LinkUp():
                log.info("connected to the broker")
                self._manager.ready()
            case LinkDown(reason):
                log.warning("lost the broker: %s", reason)
            case Refused() as refused:
                log.error("the broker refused: %s", refused)
            case _:
                pass
        # First what came before: it may close the round, and then nothing more goes into it.
        self._handle_events()
        if self._patience_s() == 0.0 or (event is None and patience is not None):
            self._make_lasting()
            self._handle_events()
        if self._clock() >= self._looked_for_changes_s + _LOOK_FOR_CHANGES_S:
            self._look_for_changes()
        self._finish_collection()
        self._events.append(Tick())
        self._handle_events()
        reached = "connected" if self._link.is_up else "no broker"
        self._manager.turn(f"{reached}; round {self._engine.round}: {self._engine.state.value}")

    def _handle_events(self) -> None:
        while self._events:
            for action in self._engine.handle(self._events.popleft(), self._clock()):
                self._execute(action)
        # Told by now, or of a round that was closed meanwhile: no later verdict is about them.
        self._refused.clear()

    def _rarely(self, what: str) -> bool:
        """True at the 1st, 2nd, 4th, 8th ... call: a flood of messages is no flood of the log."""
        self._occurrences[what] += 1
        count = self._occurrences[what]
        return count & (count - 1) == 0

    def _look_for_changes(self) -> None:
        """Follow what a person has changed about the devices, from another process."""
        self._looked_for_changes_s = self._clock()
        self._device_bundles.write_down()
        self._admission.write_down_waiting()
        barred, asked = self._admission.look_for_changes()
        for device in sorted(barred):
            self._bar(device, "by command")
        for device, topic, payload in asked:
            self._take(device, "status", topic, payload)

    def _bar(self, device: str, reason: str) -> None:
        self._uploads.pop(device, None)
        self._events.append(DeviceBarred(device, reason))

    # What comes in

    def _on_message(self, topic: str, payload: bytes) -> None:
        chunk = self._topics.parse_update_chunk(topic)
        if chunk:
            self._on_chunk(*chunk, payload)
            return
        if self._desk is not None:
            self._on_worker(self._desk, topic, payload)
        sender = self._topics.parse_device(topic)
        if sender is None or not payload:
            return  # an empty one clears what a broker retained; it is nobody's word
        if not self._admission.quotas.take(self._admission.sender(sender.device), len(payload)):
            self._ignore(topic, ProtocolError(RejectReason.QUOTA_EXCEEDED, "too many messages"))
            return
        self._take(sender.device, sender.leaf, topic, payload)

    def _take(self, device: str, leaf: str, topic: str, payload: bytes) -> None:
        try:
            if leaf == "status":
                self._on_status(device, topic, payload)
            elif leaf == "heartbeat":
                if self._engine.is_silent(device):
                    self._admission.open(device, topic, payload, Heartbeat)
                    self._events.append(DeviceHeard(device))
            elif leaf == "event":
                event: DeviceEvent = self._admission.open(device, topic, payload, DeviceEvent)  # type: ignore[arg-type]
                self._on_event(device, event)
        except ProtocolError as error:
            self._admission.quotas.count_ignored(self._admission.sender(device))
            self._ignore(topic, error)
            if leaf == "status":
                self._send(device, NotAdmitted(error.reason, error.detail))

    def _ignore(self, topic: str, error: ProtocolError) -> None:
        self.ignored[error.reason] += 1
        if self._rarely(error.reason.value):
            log.warning("ignored a message on %s: %s", topic, _printable(str(error)))

    def _on_status(self, device: str, topic: str, payload: bytes) -> None:
        status = self._admission.open_status(device, topic, payload)
        presence = status.presence
        online = presence is not Presence.OFFLINE
        self._device_bundles.has(device, status.bundle)
        if online and status.bundle != self._digest:
            if self._rarely("foreign bundle"):
                log.warning("%s has another bundle and is left out: %s", device, status.bundle)
            online = False
        if online and not status.samples:
            # It would fail every round that it is given; when it has some it says so.
            if self._rarely("no samples"):
                log.info("%s has no samples yet and is not selected", device)
            online = False
        waits = online and presence is Presence.WAITING
        known = (self._engine.is_present(device), self._engine.is_waiting(device))
        if known != (online and not waits, waits):
            log.info("%s is %s %s", device, presence.value, status.waiting_for if waits else "")
        if not online:
            self._events.append(DeviceLost(device))
        elif waits:
            self._events.append(DeviceWaits(device, status.waiting_for))
        else:
            self._events.append(DeviceAppeared(device))

    def _on_event(self, device: str, event: DeviceEvent) -> None:
        if self._engine.is_silent(device):
            self._events.append(DeviceHeard(device))
        if isinstance(event, PhaseProgress):
            return
        if isinstance(event, BundleInstalled | BundleRefused):
            self._device_bundles.answered(device, event, self._state.journal)
            return
        number, epoch = event.round, event.epoch
        current = (number, epoch) == (self._engine.round, self._engine.epoch)
        match event:
            case UpdateReady():
                counts_for = self._engine.counts_for(number, epoch)
                if counts_for is not None:
                    self._record(counts_for, device, "offered", event)
                self._events.append(
                    UpdateOffered(device, number, epoch, event.base, event.transfer)
                )
            case Evaluated():
                if current:
                    self._record(number, device, "reported", event)
                self._events.append(EvaluationReported(device, number, epoch))
            case RoundFailed():
                if current and self._state.journal.record_report(number, device, "failed", None):
                    self._count_failure(device, event.detail, rejected=False)
                self._events.append(DeviceFailed(device, number, epoch, event.detail))

    def _record(
        self, number: int, device: str, status: str, event: UpdateReady | Evaluated
    ) -> None:
        self._state.journal.record_report(number, device, status, event.report)

    def _on_chunk(self, device: str, number: int, chunk: int, data: bytes) -> None:
        upload = self._uploads.get(device)
        if upload is None or upload.round != number or upload.is_complete:
            return
        if not self._engine.awaits_upload(device, number):
            return  # the grant has expired, or the device has failed since: it is asked again
        quotas, transfer = self._admission.quotas, upload.reassembly.transfer
        quotas.count(device, len(data))
        upload.received_bytes += len(data)
        try:
            if upload.received_bytes > quotas.upload_limit(transfer.payload_bytes, CHUNK_BYTES):
                raise ProtocolError(
                    RejectReason.QUOTA_EXCEEDED,
                    f"{upload.received_bytes} bytes came for {transfer.payload_bytes}",
                )
            is_complete = upload.reassembly.take(chunk, data)
            self._events.append(UploadProgressed(device, number))
            if not is_complete:
                return
        except ProtocolError as error:
            self._refuse(device, number, error, transfer.payload_bytes)
            return
        upload.is_complete = True
        self._judge(device, upload)

    def _judge(self, device: str, upload: _Upload) -> None:
        """Have a complete upload judged, for the round that is open now."""
        number = upload.round
        try:
            key = self._admission.key_of(device)
        except ProtocolError as error:
            self._refuse(device, number, error, upload.reassembly.transfer.payload_bytes)
            return
        digest, base = self._bases[number]
        staleness = self._staleness_of(number)
        expected = Expected(device, number, digest, base, self._exact, staleness)
        upload.judged_into = expected.into
        self._acceptance.submit(upload, upload.reassembly, key, expected)

    def _staleness_of(self, number: int) -> Staleness | None:
        late = self._engine.round - number
        if late <= 0:
            return None
        weight = staleness_weight(late, self._settings.rounds.staleness_exponent)
        return Staleness(late, weight, self._bases[self._engine.round][1])

    def _on_judged(self, judged: Judged) -> None:
        device, number, outcome = judged.device, judged.round, judged.outcome
        wanted = self._uploads.get(device) is judged.upload
        if isinstance(outcome, Passed):
            if wanted and self._engine.awaits_upload(device, number):
                if not self._passed:
                    self._passed_since_s = time.monotonic()
                self._passed.append(judged)
            else:
                self._no_longer_judged(judged)
                self._state.updates.discard(outcome.written)
        elif isinstance(outcome, ProtocolError):
            if wanted:
                self._refuse(device, number, outcome, judged.payload_bytes, judged.is_signed)
        elif wanted and self._engine.awaits_upload(device, number):
            raise outcome
        else:
            # The round was closed meanwhile, and its folder with it.
            self._no_longer_judged(judged)

    def _no_longer_judged(self, judged: Judged) -> None:
        upload = self._uploads.get(judged.device)
        if upload is not None and upload is judged.upload:
            upload.judged_into = None

    # Workers

    def _on_worker(self, desk: WorkDesk, topic: str, payload: bytes) -> None:
        try:
            said = desk.take(topic, payload)
            if said is None:
                return
            worker, event = said
            if isinstance(event, UpdateHeld):
                most = self._settings.validation.max_samples
                if event.samples > most:
                    raise ProtocolError(
                        RejectReason.SAMPLES_EXCEEDED,
                        f"worker {worker} holds {event.samples} samples of {event.device}, which "
                        f"may have {most}: its [validation] is not this coordinator's",
                    )
        except ProtocolError as error:
            self._ignore(topic, error)
            return
        device, number = event.device, event.round
        upload = self._uploads.get(device)
        if (
            upload is None
            or (upload.round, upload.reassembly.transfer) != (number, event.transfer)
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
                self._events.append(UploadProgressed(device, number))
                return
        if not upload.is_complete:
            upload.is_complete = True
            self._admission.quotas.count(device, size)
            self._on_judged(Judged(upload, device, number, size, outcome, is_signed))

    def _order_upload(self, desk: WorkDesk, device: str, upload: _Upload) -> None:
        try:
            key = self._admission.key_of(device)
        except ProtocolError as error:
            self._refuse(device, upload.round, error, 0)
            return
        transfer = upload.reassembly.transfer
        desk.order(
            UploadOrder(
                upload.round, self._engine.epoch, self._digest, device, key, transfer, self._model
            )
        )

    def _collect(self, desk: WorkDesk, number: int, devices: tuple[str, ...]) -> None:
        journal = self._state.journal
        samples = {row.device: row.samples for row in journal.members(number)}
        wanted = {device: samples[device] for device in devices}
        desk.collect(number, self._engine.epoch, wanted, journal.holdings(number))
        self._finish_collection()

    def _finish_collection(self) -> None:
        """Make the next model of partial sums once they are here; ask again for what is lost."""
        collection = None if self._desk is None else self._desk.collected()
        if collection is None:
            return
        number, lost = collection.round, collection.lost
        for worker in sorted(set(lost.values())):
            count = sum(holder == worker for holder in lost.values())
            self._state.journal.note(
                f"round {number}: worker {worker} did not give the sum of {count} accepted updates"
            )
        for device in lost:
            self._state.journal.forget_accepted(number, device)
        if lost:
            self._events.append(UpdatesLost(number, tuple(sorted(lost))))
            return
        self._shared = self._state.finish_mean(number, collection.local, collection.total)
        self._model = self._describe_model(number)
        self._events.append(AggregationDone(self._model))

    def _patience_s(self) -> float | None:
        """For how long to wait for others before what is ready is made lasting; None if nothing."""
        if self._passed:
            if len(self._passed) >= min(_LARGEST_GROUP, len(self._uploads)):
                return 0.0
            return max(0.0, self._passed_since_s + _GROUP_WAIT_S - time.monotonic())
        return _GROUP_WAIT_S if self._state.journal.holds else None

    def _make_lasting(self) -> None:
        """Everything that is ready, on disk and in the journal before anybody is told."""
        passed, self._passed = self._passed, []
        groups: dict[int, list[Passed]] = {}
        for judged in passed:
            device, outcome = judged.device, judged.outcome
            assert isinstance(outcome, Passed)
            # A device may have been barred, or its grant have gone, since it was judged.
            if self._uploads.get(device) is judged.upload and self._engine.awaits_upload(
                device, judged.round
            ):
                del self._uploads[device]
                groups.setdefault(outcome.into, []).append(outcome)
            else:
                self._no_longer_judged(judged)
                self._state.updates.discard(outcome.written)
        for number, group in groups.items():
            self._state.accept_all(number, group)
            for each in group:
                self._admission.count_accepted(each.device)
            stored = tuple(UpdateStored(each.device, number - each.stale) for each in group)
            self._events.append(UpdatesStored(stored))
        self._state.journal.flush()

    def _refuse(
        self,
        device: str,
        number: int,
        error: ProtocolError,
        size: int,
        is_signed: bool = False,
    ) -> None:
        self._uploads.pop(device, None)
        self._refused[device] = _Refused(size, is_signed)
        self._events.append(UpdateRefused(device, number, error.reason, error.detail))

    def _count_failure(self, device: str, detail: str, *, rejected: bool) -> None:
        reason = self._admission.count_failure(device, detail, rejected=rejected)
        if reason is not None:
            self._bar(device, reason)
            self._send(device, NotAdmitted(RejectReason.QUARANTINED, reason))

    def _reject(self, device: str, verdict: Rejected) -> None:
        """Tell a device that its update is refused, after that was written down.

        Offers that are late, come twice or are nobody's turn are answered and not written down:
        whoever makes them up shall not fill the disk.
        """
        reason, detail = verdict.reason, verdict.detail
        refused = self._refused.pop(device, None)
        if reason is RejectReason.WRONG_BASE:
            refused = refused or _Refused(0, is_signed=True)  # so it said in its offer
        if refused is None:
            self._send(device, verdict)
            return
        size = refused.payload_bytes
        self._state.journal.reject(verdict.round, device, reason, detail, size)
        self._send(device, verdict)
        if refused.is_signed:
            self._count_failure(device, f"{reason.value}: {detail}", rejected=True)

    # What the engine decides

    def _execute(self, action: Action) -> None:
        match action:
            case OpenRound(announcement):
                self._open_round(announcement)
            case ExpectUpload(device, number, transfer):
                self._expect_upload(device, number, transfer)
            case SendCommand(_, Grant()) if self._desk is not None:
                pass  # the worker grants, once it listens
            case SendCommand(device, Grant() as grant) if device in self._uploads:
                # What came before the link was lost, or before a grant expired, is not asked again.
                upload = self._uploads[device]
                if not upload.is_complete and upload.reassembly.held_bytes:
                    missing = spans_of(upload.reassembly.missing)
                    grant = msgspec.structs.replace(grant, chunks=missing)
                if not upload.is_complete:
                    self._send(device, grant)
            case SendCommand(device, Rejected() as verdict):
                self._reject(device, verdict)
            case SendCommand(device, command):
                self._send(device, command)
            case Aggregate(number, devices) if self._desk is not None:
                self._collect(self._desk, number, devices)
            case Aggregate(number, devices):
                seed = self._settings.rounds.seed
                self._shared = self._state.aggregate(number, devices, self._rule, seed)
                self._model = self._describe_model(number)
                self._events.append(AggregationDone(self._model))
            case CloseRound(number, purpose, _):
                self._close_round(number, purpose)
            case Note(text):
                log.warning("%s", _printable(text))
                self._state.journal.note(_printable(text))
            case Finish():
                self._finish()

    def _expect_upload(self, device: str, number: int, transfer: TransferReference) -> None:
        known = self._uploads.pop(device, None)
        try:
            if known and (known.round, known.reassembly.transfer) == (number, transfer):
                if known.judged_into == self._engine.round:
                    self._uploads[device] = known  # said again while it is judged
                    return
                # A worker is asked again, and again says that it has it.
                is_complete = known.is_complete and self._desk is None
                upload = _Upload(number, known.reassembly, known.received_bytes, is_complete)
            else:
                upload = _Upload(number, Reassembly(transfer, self._codec.max_sealed_bytes))
        except ProtocolError as error:
            self._refuse(device, number, error, 0)
            return
        self._uploads[device] = upload
        self._drop_old_parts()
        if self._desk is not None:
            self._order_upload(self._desk, device, upload)
        elif upload.is_complete:
            # It came while the round before was open; all that changes is what it counts for.
            self._judge(device, upload)

    def _drop_old_parts(self) -> None:
        """Parts of uploads whose grant expired are kept as long as there is room for them."""
        room = _PARTS_FOR_EACH_PLACE * self._settings.rounds.uploads_at_once
        for device in list(self._uploads):
            if len(self._uploads) <= room:
                return
            if not self._engine.awaits_upload(device, self._uploads[device].round):
                del self._uploads[device]

    def _send(self, device: str, command: Command) -> None:
        topic = self._topics.device(device, "command")
        try:
            self._link.publish(topic, sign_message(command, topic, self._identity.key))
        except LinkOverflow as error:
            # Devices offer again and grants expire, so a lost command costs time and no update.
            if self._rarely("command dropped"):
                log.warning("a command to %s was dropped: %s", device, error)

    def _describe_model(self, version: int) -> ModelReference:
        payload = self._codec.encode(self._shared, ModelLabel(version))
        self._payload = seal_tensors(payload, self._identity.key)
        return ModelReference(
            version, tensors_digest(self._shared), describe_transfer(self._payload)
        )

    def _open_round(self, announcement: RoundAnnouncement) -> None:
        self._state.open_round(announcement)
        number, digest = announcement.round, announcement.model.digest
        self._bases[number] = (digest, flatten(self._shared, self._codec.layout))
        oldest = number - announcement.stale_rounds
        self._bases = {n: base for n, base in self._bases.items() if n >= oldest}
        self._uploads = {d: u for d, u in self._uploads.items() if u.round >= oldest}
        version, old = announcement.model.version, self._published_version
        if version != old:
            chunks = enumerate(split_chunks(self._payload))
            items = [(self._topics.model_chunk(version, n), chunk) for n, chunk in chunks]
            self._link.publish_bulk(items, tag=_model_tag(version), retained=True)
            self._published_version = version
        self._publish_state(self._topics.round, announcement)
        if old is not None and old != version:
            self._link.drop_bulk(_model_tag(old))
        log.info(
            "round %d: %s with %d devices",
            announcement.round,
            announcement.purpose.value,
            len(announcement.selected),
        )

    def _close_round(self, number: int, purpose: Purpose) -> None:
        ignored, self.ignored = self.ignored, Counter()
        metrics = self._state.close_round(number, ignored)
        self._admission.write_down_traffic()
        self._publish_state(self._topics.metrics, metrics)
        log.info(
            "round %d closed: %s, %d updates, received %s, local %s",
            number,
            purpose.value,
            metrics.accepted,
            _percent(metrics.received_mean),
            _percent(metrics.local_mean),
        )

    def _finish(self) -> None:
        self._publish_state(self._topics.control, Control(DesiredState.STOP, self._engine.epoch))
        self._link.clear_retained(self._topics.round)
        if self._published_version is not None:
            self._link.drop_bulk(_model_tag(self._published_version))
        self._finished = True


def _model_tag(version: int) -> str:
    return f"model/{version}"


def _printable(text: str) -> str:
    """The text with everything escaped that could move a cursor or begin a line of its own."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.1%}"
