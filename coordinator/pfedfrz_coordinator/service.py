"""The coordinator as a process: one loop that feeds the engine and executes what it decides.

What comes in goes to whom it concerns: the devices' words to the `DeviceDesk`, behind whose gate
nothing is raised that a peer has done; their updates to the `UploadDesk`; workers' words to the
`WorkDesk`; operators' to the `OperatorDesk`. What leaves does so through the `Publication`, signed.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable

from pfedfrz_protocol import (
    Bundle,
    DesiredState,
    Grant,
    Presence,
    ProtocolError,
    Purpose,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    SharedCodec,
    Topics,
)
from pfedfrz_storage import OwnIdentity
from pfedfrz_transport import (
    Link,
    LinkDown,
    LinkUp,
    Message,
    Posted,
    Refused,
    ServiceManager,
)

from .acceptance import AcceptancePool, Judged
from .admission import Admission
from .aggregation import Mean, find_rule
from .circumstances import write_circumstances
from .configuration import CoordinatorSettings
from .device_bundles import DeviceBundles
from .device_desk import DeviceDesk
from .engine import RoundEngine, StartingPoint
from .engine_exchange import (
    Action,
    Aggregate,
    CloseRound,
    ControlRequested,
    Event,
    ExpectUpload,
    Finish,
    Note,
    OpenRound,
    SendCommand,
    Tick,
)
from .ignored_messages import IgnoredMessages
from .instruments import Instruments
from .key_lists import FollowedKeys, read_operators
from .measuring import Measuring
from .membership import MemberList
from .merging import Merging
from .operator_desk import OperatorDesk
from .publication import Publication, coordinator_will
from .refusals import Refusals
from .registry import Registry
from .round_models import RoundModels
from .state import CoordinatorState
from .told_rounds import ToldRounds
from .upload_desk import UploadDesk
from .work_desk import WorkDesk

__all__ = ["CoordinatorService", "coordinator_will"]

log = logging.getLogger(__name__)
_IDLE_POLL_S = 1.0
_LOOK_FOR_CHANGES_S = 1.0


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
        instruments: Instruments | None = None,
    ) -> None:
        """Recover from the state directory; ConfigurationError when it does not fit the bundle.

        `instruments` are shown what happens.
        """
        self._settings = settings
        self._link = link
        self._clock = clock
        self._manager = manager or ServiceManager()
        self._topics = Topics(settings.federation)
        rule = find_rule(settings.aggregation)
        codec = SharedCodec.for_manifest(bundle.manifest)
        exact = isinstance(rule, Mean) and rule.exact
        digest = bundle.manifest.digest
        self._state = CoordinatorState(
            settings.state_dir,
            bundle,
            stale_rounds=settings.rounds.stale_rounds,
            exact=exact,
            workers=settings.workers.enabled,
        )
        write_circumstances(self._state.journal, settings, bundle.manifest)
        self._workers: WorkDesk | None = None
        """To the workers, where these take the updates."""
        if settings.workers.enabled:
            self._workers = WorkDesk(
                self._topics,
                link,
                identity.key,
                parameters=sum(spec.elements for spec in codec.layout),
                max_samples=settings.validation.max_samples,
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
        self._models = RoundModels(
            codec, identity.key, recovered.version, recovered.shared, recovered.recent
        )
        start = StartingPoint(
            self._models.reference,
            recovered.epoch,
            recovered.completed,
            recovered.accepted,
            recovered.owing,
            recovered.late,
            recovered.counted,
            self._models.digests(),
        )
        self._engine = RoundEngine(
            settings.rounds, digest, start, clock(), fewest_updates=rule.fewest_clients
        )
        self._events: deque[Event] = deque()
        feed = self._events.append
        self._acceptance = AcceptancePool(
            codec, settings.validation, self._state.updates, link.post
        )
        self._refusals = Refusals(self._state.journal)
        self._uploads = UploadDesk(
            codec,
            digest,
            self._engine,
            self._models,
            self._state,
            self._admission,
            self._acceptance,
            self._workers,
            self._refusals,
            settings.rounds,
            feed,
            exact=exact,
        )
        self._publication = Publication(settings, bundle, link, identity)
        self._told = ToldRounds(self._state.journal)
        self._ignored = IgnoredMessages()
        self._devices = DeviceDesk(
            digest,
            self._engine,
            self._admission,
            self._device_bundles,
            self._state.journal,
            self._uploads,
            self._publication,
            self._ignored,
            feed,
        )
        self._members = MemberList(self._admission, self._publication)
        self._paused = self._registry.is_paused()
        """As devices and engine were last told."""
        self._operators: OperatorDesk | None = None
        if settings.operators is not None:
            self._operators = OperatorDesk(
                FollowedKeys(settings.operators, read_operators, "list of operators"),
                self._engine.epoch,
                self._registry,
                self._admission,
                self._state.journal,
                self._publication,
                self._ignored,
                self._follow_registry,
                clock,
            )
        self._merging = Merging(
            rule, settings.rounds.seed, self._state, self._models, self._engine, self._workers, feed
        )
        self._measuring = Measuring(
            instruments,
            self._engine,
            link,
            self._state.journal,
            self._registry,
            self._ignored,
            clock,
        )
        self._finished = False
        self._interrupted = False

    @property
    def ignored(self) -> Counter[RejectReason]:
        """Messages that were not listened to, by reason, since the last round was closed."""
        return self._ignored.counts

    def run(self) -> bool:
        """Serve until the rounds are over and everybody can know (True), or not (False).

        False means that a later start has something left to do: `interrupt` was called, or the
        broker was away when the end should have been told.
        """
        topics, link = self._topics, self._link
        self._publication.presence(Presence.ONLINE, self._engine.epoch)
        self._want(self._paused)
        self._publication.history(self._told.message())
        self._members.tell()
        if self._operators is not None:
            link.subscribe(topics.every_operator("request"))
        for leaf in ("status", "event", "heartbeat"):
            link.subscribe(topics.every_device(leaf))
        if self._workers is None:
            link.subscribe(topics.every_update_chunk)
        else:
            self._workers.subscribe()
        self._publication.offer_bundle(self._state.journal)
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
            self._publication.presence(Presence.OFFLINE, self._engine.epoch)
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
        """Pause, resume or stop the federation; may be called from any thread.

        A pause lasts over restarts until it is resumed.
        """
        self._link.post(ControlRequested(desired))

    # The loop

    def _turn(self) -> None:
        due = self._engine.wake_at_s()
        collecting = self._merging.wake_at_s()
        if collecting is not None:
            due = collecting if due is None else min(due, collecting)
        longest = min(_IDLE_POLL_S, self._manager.longest_wait_s)
        wait = longest if due is None else min(longest, max(0.0, due - self._clock()))
        patience = self._uploads.patience_s()
        event = self._link.poll(wait if patience is None else min(wait, patience))
        match event:
            case Message(topic, payload):
                self._on_message(topic, payload)
            case Posted(Judged() as judged):
                self._uploads.on_judged(judged)
            case Posted(ControlRequested(DesiredState.STOP) as request):
                self._publication.control(request.desired, self._engine.epoch)
                self._events.append(request)
            case Posted(ControlRequested(desired)):
                self._registry.pause(desired is DesiredState.PAUSE)
                self._follow_registry()
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
        if self._uploads.patience_s() == 0.0 or (event is None and patience is not None):
            self._uploads.make_lasting()
            self._handle_events()
        if self._clock() >= self._looked_for_changes_s + _LOOK_FOR_CHANGES_S:
            self._looked_for_changes_s = self._clock()
            if self._operators is not None:
                self._operators.look_for_changes()
            self._follow_registry()
            self._members.tell()
        self._merging.go_on()
        self._events.append(Tick())
        self._handle_events()
        self._measuring.look()
        reached = "connected" if self._link.is_up else "no broker"
        self._manager.turn(f"{reached}; round {self._engine.round}: {self._engine.state.value}")

    def _follow_registry(self) -> None:
        """Do what a person has changed, here or in another process."""
        self._devices.look_for_changes()
        paused = self._registry.is_paused()
        if paused is not self._paused and not self._finished:
            self._want(paused)

    def _want(self, paused: bool) -> None:
        """Open no round from now on, or do so."""
        if paused:
            log.warning(
                "paused: no round is opened; to go on: pfedfrz resume --config coordinator.toml, "
                "or an operator's resume"
            )
        elif self._paused:
            log.info("resumed: rounds are opened again")
        self._paused = paused
        desired = DesiredState.PAUSE if paused else DesiredState.RUN
        self._publication.control(desired, self._engine.epoch)
        self._events.append(ControlRequested(desired))

    def _handle_events(self) -> None:
        while self._events:
            for action in self._engine.handle(self._events.popleft(), self._clock()):
                self._execute(action)
        self._refusals.clear()

    def _on_message(self, topic: str, payload: bytes) -> None:
        chunk = self._topics.parse_update_chunk(topic)
        if chunk:
            self._uploads.on_chunk(*chunk, payload)
            return
        if self._workers is not None:
            self._on_worker(self._workers, topic, payload)
        if not payload:
            return  # an empty one clears what a broker retained; it is nobody's word
        if self._operators is not None:
            operator = self._topics.parse_operator(topic)
            if operator is not None:
                self._operators.on_message(operator, topic, payload)
        sender = self._topics.parse_device(topic)
        if sender is None:
            return
        self._devices.on_message(sender, topic, payload)

    def _on_worker(self, workers: WorkDesk, topic: str, payload: bytes) -> None:
        try:
            said = workers.take(topic, payload)
        except ProtocolError as error:
            self._ignored.add(topic, error)
            return
        if said is not None:
            self._uploads.on_worker(*said)

    # What the engine decides

    def _execute(self, action: Action) -> None:
        match action:
            case OpenRound(announcement):
                self._open_round(announcement)
            case ExpectUpload(device, number, transfer):
                self._uploads.expect(device, number, transfer)
            case SendCommand(device, Grant() as grant):
                filled_in = self._uploads.fill_in(device, grant)
                if filled_in is not None:
                    self._publication.command(device, filled_in)
            case SendCommand(device, Rejected() as verdict):
                self._reject(device, verdict)
            case SendCommand(device, command):
                self._publication.command(device, command)
            case Aggregate(number, devices):
                self._measuring.aggregating()
                self._merging.begin(number, devices)
            case CloseRound(number, purpose, _):
                self._close_round(number, purpose)
            case Note(text):
                log.warning("%s", _printable(text))
                self._state.journal.note(_printable(text))
            case Finish():
                self._publication.end(self._engine.epoch)
                self._finished = True

    def _reject(self, device: str, verdict: Rejected) -> None:
        """Tell a device that its update is refused, after that was written down."""
        is_its_fault = self._refusals.write_down(device, verdict)
        self._publication.command(device, verdict)
        if is_its_fault:
            detail = f"{verdict.reason.value}: {verdict.detail}"
            self._devices.count_failure(device, detail, rejected=True)

    def _open_round(self, announcement: RoundAnnouncement) -> None:
        self._state.open_round(announcement)
        self._models.begin(announcement)
        self._uploads.drop_before(announcement.round - announcement.stale_rounds)
        self._publication.round(announcement, self._models.payload)
        log.info(
            "round %d: %s with %d devices",
            announcement.round,
            announcement.purpose.value,
            len(announcement.selected),
        )

    def _close_round(self, number: int, purpose: Purpose) -> None:
        metrics = self._state.close_round(number, self._ignored.drain())
        self._admission.write_down_traffic()
        self._publication.metrics(metrics)
        self._told.closed(number)
        self._publication.history(self._told.message())
        self._measuring.closed(metrics)
        log.info(
            "round %d closed: %s, %d updates, received %s, local %s",
            number,
            purpose.value,
            metrics.accepted,
            _percent(metrics.received_mean),
            _percent(metrics.local_mean),
        )


def _printable(text: str) -> str:
    """The text with everything escaped that could move a cursor or begin a line of its own."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.1%}"
