"""The coordinator as a process: one loop that feeds the engine and executes what it decides.

Every message from the network is checked here before anything else sees it: what does not decode is
counted and logged, never raised.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable

from pfedfrz_protocol import (
    Bundle,
    Control,
    CoordinatorStatus,
    DesiredState,
    DeviceEvent,
    DeviceStatus,
    Evaluated,
    ModelLabel,
    ModelReference,
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
    UpdateReady,
    decode_message,
    describe_transfer,
    encode_message,
    split_chunks,
    tensors_digest,
)
from pfedfrz_transport import Link, LinkDown, LinkUp, Message, Posted, Refused, Will

from .aggregation import find_rule
from .configuration import CoordinatorSettings
from .engine import RoundEngine, StartingPoint
from .engine_exchange import (
    Action,
    Aggregate,
    AggregationDone,
    CloseRound,
    ControlRequested,
    DeviceAppeared,
    DeviceFailed,
    DeviceLost,
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
    UpdateStored,
)
from .state import CoordinatorState
from .validation import Expected, validate_update

__all__ = ["CoordinatorService", "coordinator_will"]

log = logging.getLogger(__name__)
_IDLE_POLL_S = 1.0


def coordinator_will(settings: CoordinatorSettings, bundle: Bundle) -> Will:
    """What the broker says of a coordinator that vanished."""
    status = CoordinatorStatus(Presence.OFFLINE, bundle.manifest.digest, 0)
    return Will(Topics(settings.federation).coordinator_status, encode_message(status))


class CoordinatorService:
    """Runs one federation over one link."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        bundle: Bundle,
        link: Link,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Recover from the state directory; ConfigurationError when it does not fit the bundle."""
        self._settings = settings
        self._digest = bundle.manifest.digest
        self._link = link
        self._clock = clock
        self._rule = find_rule(settings.aggregation)
        self._topics = Topics(settings.federation)
        self._codec = SharedCodec.for_manifest(bundle.manifest)
        self._state = CoordinatorState(settings.state_dir, bundle)
        recovered = self._state.recover()
        self._shared: Parameters = recovered.shared
        self._payload = b""
        self._published_version: int | None = None
        start = StartingPoint(
            self._describe_model(recovered.version),
            recovered.epoch,
            recovered.completed,
            recovered.accepted,
        )
        self._model = start.model
        self._engine = RoundEngine(settings.rounds, self._digest, start, clock())
        self._uploads: dict[str, tuple[int, Reassembly]] = {}
        self._refused_bytes: dict[str, int] = {}
        """Payload sizes of refused updates whose verdict is not sent yet."""
        self._events: deque[Event] = deque()
        self.malformed: Counter[RejectReason] = Counter()
        """Messages that did not decode, by reason."""
        self._finished = False
        self._interrupted = False

    def run(self) -> bool:
        """Serve until the rounds are over (True) or `interrupt` is called (False)."""
        topics, link = self._topics, self._link
        self._announce_presence(Presence.ONLINE)
        control = Control(DesiredState.RUN, self._engine.epoch)
        link.publish_retained(topics.control, encode_message(control))
        for leaf in ("status", "event"):
            link.subscribe(topics.every_device(leaf))
        link.subscribe(topics.every_update_chunk)
        link.start()
        try:
            link.wait_until_up(self._settings.connect_timeout_s)
            while not (self._finished or self._interrupted):
                self._turn()
        finally:
            self._announce_presence(Presence.OFFLINE)
            if not link.close():
                log.warning("the link closed before everything was delivered")
            self._state.journal.close()
        return self._finished

    def interrupt(self) -> None:
        """End the process without ending the federation; may be called from a signal handler."""
        self._interrupted = True
        self._link.wake()

    def request(self, desired: DesiredState) -> None:
        """Pause, resume or stop the federation; may be called from any thread."""
        self._link.post(ControlRequested(desired))

    def _announce_presence(self, presence: Presence) -> None:
        status = CoordinatorStatus(presence, self._digest, self._engine.epoch)
        self._link.publish_retained(self._topics.coordinator_status, encode_message(status))

    # The loop

    def _turn(self) -> None:
        due = self._engine.wake_at_s()
        wait = _IDLE_POLL_S if due is None else min(_IDLE_POLL_S, max(0.0, due - self._clock()))
        match self._link.poll(wait):
            case Message(topic, payload):
                self._on_message(topic, payload)
            case Posted(ControlRequested() as request):
                control = Control(request.desired, self._engine.epoch)
                self._link.publish_retained(self._topics.control, encode_message(control))
                self._events.append(request)
            case LinkUp():
                log.info("connected to the broker")
            case LinkDown(reason):
                log.warning("lost the broker: %s", reason)
            case Refused() as refused:
                log.error("the broker refused: %s", refused)
            case _:
                pass
        self._events.append(Tick())
        while self._events:
            for action in self._engine.handle(self._events.popleft(), self._clock()):
                self._execute(action)

    # What comes in

    def _on_message(self, topic: str, payload: bytes) -> None:
        try:
            chunk = self._topics.parse_update_chunk(topic)
            if chunk:
                self._on_chunk(*chunk, payload)
                return
            sender = self._topics.parse_device(topic)
            if sender is None:
                return
            if sender.leaf == "status":
                self._on_status(sender.device, payload)
            elif sender.leaf == "event":
                event: DeviceEvent = decode_message(payload, DeviceEvent)  # type: ignore[arg-type]
                self._on_event(sender.device, event)
        except ProtocolError as error:
            self.malformed[error.reason] += 1
            count = self.malformed[error.reason]
            if count & (count - 1) == 0:
                # At powers of two only: whoever floods the broker shall not flood the log.
                log.warning("ignored a message on %s (%d so far): %s", topic, count, error)

    def _on_status(self, device: str, payload: bytes) -> None:
        if not payload:
            self._events.append(DeviceLost(device))
            return
        status = decode_message(payload, DeviceStatus)
        online = status.presence is Presence.ONLINE
        if online and status.bundle != self._digest:
            log.warning("%s has another bundle (%s...) and is left out", device, status.bundle[:12])
            online = False
        known = device in self._engine.present
        if online != known:
            log.info("%s is %s", device, status.presence.value)
        self._events.append(DeviceAppeared(device) if online else DeviceLost(device))

    def _on_event(self, device: str, event: DeviceEvent) -> None:
        if isinstance(event, PhaseProgress):
            return
        number, epoch = event.round, event.epoch
        current = (number, epoch) == (self._engine.round, self._engine.epoch)
        match event:
            case UpdateReady():
                if current:
                    self._record(number, device, "offered", event)
                self._events.append(
                    UpdateOffered(device, number, epoch, event.base, event.transfer)
                )
            case Evaluated():
                if current:
                    self._record(number, device, "reported", event)
                self._events.append(EvaluationReported(device, number, epoch))
            case RoundFailed():
                if current:
                    self._state.journal.record_report(number, device, "failed", None)
                self._events.append(DeviceFailed(device, number, epoch, event.detail))

    def _record(
        self, number: int, device: str, status: str, event: UpdateReady | Evaluated
    ) -> None:
        self._state.journal.record_report(number, device, status, event.report)

    def _on_chunk(self, device: str, number: int, chunk: int, data: bytes) -> None:
        upload = self._uploads.get(device)
        if upload is None or upload[0] != number:
            return
        if not self._engine.awaits_upload(device, number):
            return  # the grant has expired, or the device has failed since: it is asked again
        reassembly = upload[1]
        try:
            payload = reassembly.add(chunk, data)
            if payload is None:
                return
            expected = Expected(device, number, self._model.digest, self._shared)
            update = validate_update(payload, self._codec, expected, self._settings.validation)
        except ProtocolError as error:
            self._refuse(device, number, error, reassembly.transfer.payload_bytes)
            return
        del self._uploads[device]
        self._state.accept(number, device, update, len(payload))
        self._events.append(UpdateStored(device, number))

    def _refuse(self, device: str, number: int, error: ProtocolError, size: int) -> None:
        self._uploads.pop(device, None)
        self._refused_bytes[device] = size
        self._events.append(UpdateRefused(device, number, error.reason, error.detail))

    def _journal_verdict(self, device: str, verdict: Rejected) -> None:
        """Write a refused update down, before its device is told.

        Offers that are late, come twice or are nobody's turn are answered and not written down:
        whoever makes them up shall not fill the disk.
        """
        size = self._refused_bytes.pop(device, None)
        if size is not None or verdict.reason is RejectReason.WRONG_BASE:
            self._state.journal.reject(
                verdict.round, device, verdict.reason, verdict.detail, size or 0
            )

    # What the engine decides

    def _execute(self, action: Action) -> None:
        match action:
            case OpenRound(announcement):
                self._open_round(announcement)
            case ExpectUpload(device, number, transfer):
                try:
                    reassembly = Reassembly(transfer, self._codec.max_payload_bytes)
                    self._uploads[device] = (number, reassembly)
                except ProtocolError as error:
                    self._refuse(device, number, error, 0)
            case SendCommand(device, command):
                if isinstance(command, Rejected):
                    self._journal_verdict(device, command)
                self._link.publish(self._topics.device(device, "command"), encode_message(command))
            case Aggregate(number, devices):
                self._uploads.clear()
                self._shared = self._state.aggregate(number, devices, self._rule)
                self._model = self._describe_model(number)
                self._events.append(AggregationDone(self._model))
            case CloseRound(number, purpose, _):
                self._close_round(number, purpose)
            case Note(text):
                log.warning("%s", text)
                self._state.journal.note(text)
            case Finish():
                self._finish()

    def _describe_model(self, version: int) -> ModelReference:
        self._payload = self._codec.encode(self._shared, ModelLabel(version))
        return ModelReference(
            version, tensors_digest(self._shared), describe_transfer(self._payload)
        )

    def _open_round(self, announcement: RoundAnnouncement) -> None:
        self._state.open_round(announcement)
        self._uploads.clear()
        version, old = announcement.model.version, self._published_version
        if version != old:
            chunks = enumerate(split_chunks(self._payload))
            items = [(self._topics.model_chunk(version, n), chunk) for n, chunk in chunks]
            self._link.publish_bulk(items, tag=_model_tag(version), retained=True)
            self._published_version = version
        self._link.publish_retained(self._topics.round, encode_message(announcement))
        if old is not None and old != version:
            self._link.drop_bulk(_model_tag(old))
        log.info(
            "round %d: %s with %d devices",
            announcement.round,
            announcement.purpose.value,
            len(announcement.selected),
        )

    def _close_round(self, number: int, purpose: Purpose) -> None:
        metrics = self._state.close_round(number)
        self._link.publish_retained(self._topics.metrics, encode_message(metrics))
        log.info(
            "round %d closed: %s, %d updates, received %s, local %s",
            number,
            purpose.value,
            metrics.accepted,
            _percent(metrics.received_mean),
            _percent(metrics.local_mean),
        )

    def _finish(self) -> None:
        control = Control(DesiredState.STOP, self._engine.epoch)
        self._link.publish_retained(self._topics.control, encode_message(control))
        self._link.clear_retained(self._topics.round)
        if self._published_version is not None:
            self._link.drop_bulk(_model_tag(self._published_version))
        self._finished = True


def _model_tag(version: int) -> str:
    return f"model/{version}"


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.1%}"
