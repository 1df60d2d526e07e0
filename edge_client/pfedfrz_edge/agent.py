"""The device as a process: one loop that feeds the session and executes what it decides."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pfedfrz_protocol import (
    Bundle,
    Command,
    Control,
    DeviceEvent,
    DeviceStatus,
    Heartbeat,
    OperationError,
    PhaseProgress,
    Presence,
    ProtocolError,
    RejectReason,
    RoundAnnouncement,
    SharedCodec,
    Topics,
    open_tensors,
    seal_tensors,
    sign_message,
    split_chunks,
)
from pfedfrz_storage import OwnIdentity
from pfedfrz_transport import (
    Link,
    LinkDown,
    LinkOverflow,
    LinkUp,
    Message,
    PayloadTooLarge,
    Posted,
    Refused,
    ServiceManager,
    Will,
)

from .bundle_exchange import BundleChecked
from .bundle_follower import BundleFollower
from .conditions import ConditionWatch, watch_conditions
from .configuration import DeviceSettings
from .data import DataFeed
from .download_store import DownloadStore
from .error_feedback import ErrorFeedback
from .feature_cache import FeatureBudget
from .local_training import LocalTraining
from .model_store import ModelStore
from .outbox import Outbox, PendingUpdate, SettledRound
from .personal_store import PersonalStore
from .runtimes import Runtime
from .session import DeviceSession
from .session_exchange import (
    Action,
    Announce,
    AnnouncementSeen,
    CancelUpload,
    CancelWork,
    ChunkSeen,
    CommandSeen,
    Complain,
    ConditionsMet,
    ConditionsUnmet,
    ControlSeen,
    EvaluationDone,
    Event,
    FetchModel,
    ForgetPending,
    KeepChunk,
    KeepPending,
    LinkRestored,
    PauseWork,
    Quit,
    RememberSettled,
    ResumeWork,
    StartWork,
    StopFetching,
    UpdateAccepted,
    UpdateNotKept,
    UpdateTrained,
    Upload,
    WorkBroken,
)
from .status import StatusWriter
from .trust import CoordinatorTrust
from .worker import Look, SamplesSeen, Tamper, Worker, WorkerContext

__all__ = ["DeviceAgent", "device_will", "new_boot_id"]

log = logging.getLogger(__name__)
_WILL_DELAY_S = 3
_JOIN_S = 10.0
_UPLOAD_TAG = "update"


@dataclass(frozen=True)
class _WorkerEnded:
    """The worker's thread does nothing more."""


def new_boot_id() -> str:
    """A name for one life of a device's process."""
    return secrets.token_hex(8)


def device_will(
    settings: DeviceSettings, bundle: Bundle, boot_id: str, identity: OwnIdentity
) -> Will:
    """What the broker says of a device that vanished, a little later: boards reconnect often."""
    status = _status(settings, bundle, boot_id, identity, Presence.OFFLINE, 0)
    topic = Topics(settings.federation).device(settings.device, "status")
    return Will(topic, sign_message(status, topic, identity.key), delay_s=_WILL_DELAY_S)


def _status(
    settings: DeviceSettings,
    bundle: Bundle,
    boot_id: str,
    identity: OwnIdentity,
    presence: Presence,
    samples: int,
    waiting_for: str = "",
) -> DeviceStatus:
    return DeviceStatus(
        presence,
        boot_id,
        bundle.manifest.digest,
        settings.runtime,
        samples,
        identity.key.public,
        identity.successions,
        waiting_for,
    )


class DeviceAgent:
    """Runs one device over one link."""

    def __init__(
        self,
        settings: DeviceSettings,
        bundle: Bundle,
        runtime: Runtime,
        data: DataFeed,
        link: Link,
        boot_id: str,
        identity: OwnIdentity,
        *,
        tamper: Tamper | None = None,
        clock: Callable[[], float] = time.monotonic,
        manager: ServiceManager | None = None,
        home: Path | None = None,
        follower: BundleFollower | None = None,
        conditions: ConditionWatch | None = None,
    ) -> None:
        """Open the personal store and the outbox in `home`, by default the state directory.

        Without a `follower` no bundle is taken from the coordinator. `conditions` say when to
        train; without any given, those of the settings.
        """
        home = home or settings.state_dir
        self._follower = follower
        self._settings = settings
        self._bundle = bundle
        self._link = link
        self._boot_id = boot_id
        self._identity = identity
        self._clock = clock
        self._manager = manager or ServiceManager()
        self._started_s = self._beaten_s = clock()
        self._topics = Topics(settings.federation)
        self._data = data
        first = data.latest()
        self._samples = len(first.train)
        self._is_looking = False
        digest = bundle.manifest.digest
        codec = SharedCodec.for_manifest(bundle.manifest)
        self._outbox = Outbox(home)
        self._feedback = ErrorFeedback(home, digest, codec.layout)
        self._context = WorkerContext(
            LocalTraining(
                runtime,
                bundle.manifest,
                first,
                settings.device,
                settings.seed,
                budget=FeatureBudget(settings.feature_memory_mib << 20, home),
            ),
            codec,
            PersonalStore(home, digest),
            settings.encoding,
            boot_id,
            identity.key,
            bundle.initial_personal(),
            link.post,
            tamper,
            self._feedback,
            data,
            models=ModelStore(home, digest),
        )
        self._trust = CoordinatorTrust(
            settings.state_dir, settings.federation, settings.coordinator_key
        )
        self._unproved: dict[str, Message] = {}
        """The last round, control and offer, where no key that is trusted, yet, has signed them."""
        self._context.personal()  # a store that cannot be read is said now, not in a round
        self._downloads = DownloadStore(home)
        settled = self._outbox.settled()
        self._session = DeviceSession(
            settings.device,
            boot_id,
            digest,
            codec,
            self._pending_update(),
            (settled.epoch, settled.round) if settled else None,
            self._downloads.load(codec.max_sealed_bytes),
        )
        self._conditions = conditions or watch_conditions(settings.conditions, clock=clock)
        self._status = StatusWriter(settings, digest, boot_id, self._samples, clock)
        self._worker: Worker | None = None
        self._is_paused = False
        self._next_work: StartWork | None = None
        self._unsent = 0
        self._ignored = 0
        self._is_something_unsaid = False
        self._quit = False

    def run(self) -> None:
        """Take part until the federation is over or `interrupt` is called."""
        topics, link = self._topics, self._link
        self._look_at_conditions()
        self._say(self._presence)
        self._show_status()
        for topic in (topics.coordinator_status, topics.round, topics.control):
            link.subscribe(topic)
        link.subscribe(topics.device(self._settings.device, "command"))
        if self._follower:
            self._follower.subscribe()
        link.start()
        try:
            link.wait_until_up(self._settings.connect_timeout_s, cancelled=self._waits_no_more)
            while not (self._quit or (self._follower and self._follower.leaving)):
                self._turn()
        finally:
            if not (self._follower and self._follower.leaving):
                self._manager.stopping()  # another life follows otherwise
            if self._worker:
                self._worker.cancel()
                self._worker.join(_JOIN_S)
            if self._follower:
                self._follower.close()
            self._say(Presence.OFFLINE)
            link.close()
            self._status.end()

    def _waits_no_more(self) -> bool:
        # Ready since an earlier life, the watchdog wants to be fed also while the broker is away.
        self._manager.turn("waiting for the broker")
        return self._quit

    def _pending_update(self) -> PendingUpdate | None:
        """The update that waits since before, signed anew if the key was rotated meanwhile."""
        pending, key = self._outbox.get(), self._identity.key
        if pending is None:
            return None
        try:
            payload = open_tensors(pending.payload).payload
        except ProtocolError as error:
            log.error("the update that waits cannot be used, the round is trained again: %s", error)
            return None
        sealed = seal_tensors(bytes(payload), key)  # the same bytes, if the key is the same
        return msgspec.structs.replace(pending, payload=sealed)

    def interrupt(self) -> None:
        """End the process; may be called from a signal handler."""
        self._quit = True
        self._link.wake()

    def _say(self, presence: Presence) -> None:
        status = _status(
            self._settings,
            self._bundle,
            self._boot_id,
            self._identity,
            presence,
            self._samples,
            self._conditions.waiting_for if presence is Presence.WAITING else "",
        )
        topic = self._topics.device(self._settings.device, "status")
        self._link.publish_retained(topic, sign_message(status, topic, self._identity.key))

    # The loop

    def _turn(self) -> None:
        due = min(self._beaten_s + self._settings.heartbeat_s, self._conditions.due_s)
        wait = min(max(0.0, due - self._clock()), self._manager.longest_wait_s)
        match self._link.poll(wait):
            case LinkUp():
                log.info("connected to the broker")
                self._manager.ready()
                self._status.connected()
                self._feed(LinkRestored())
            case LinkDown(reason):
                log.warning("lost the broker: %s", reason)
                self._status.disconnected(reason)
            case Refused() as refused:
                log.error("the broker refused: %s", refused)
            case Message() as message:
                self._on_message(message)
            case Posted(PhaseProgress() as progress):
                # Many, and none of them worth waiting for.
                self._publish("event", progress, qos=0)
            case Posted(_WorkerEnded()):
                self._worker = None
                if self._follower:
                    self._follower.work_ended()
                if self._next_work:
                    self._start_work(self._next_work)
            case Posted(SamplesSeen(samples)):
                self._on_samples(samples)
            case Posted(UpdateTrained() | EvaluationDone() | WorkBroken() as done):
                self._status.worked(done)
                self._feed(done)
                if self._follower and isinstance(done, WorkBroken):
                    self._follower.work_broke(done.detail)
                elif self._follower:
                    self._follower.work_done()
            case Posted(BundleChecked() as checked) if self._follower:
                self._answer(self._follower.checked(checked))
            case _:
                pass
        if self._look_at_conditions():
            self._say(self._presence)
        if self._clock() >= self._beaten_s + self._settings.heartbeat_s:
            self._beat()
        self._tell_systemd()
        self._show_status()

    def _tell_systemd(self) -> None:
        reached = "connected" if self._link.is_up else "no broker"
        self._manager.turn(f"{reached}; round {self._session.round}: {self._session.state.value}")

    @property
    def _presence(self) -> Presence:
        return Presence.WAITING if self._conditions.waiting_for else Presence.ONLINE

    def _look_at_conditions(self) -> bool:
        """Whether there is news for the coordinator: why the device waits, or that it does not."""
        if not self._conditions.look():
            return False
        self._feed(ConditionsUnmet() if self._conditions.waiting_for else ConditionsMet())
        return True

    def _show_status(self) -> None:
        watch = self._conditions
        self._status.show(
            self._session, self._trust.key, self._samples, watch.waiting_for, dict(watch.values)
        )

    def _beat(self) -> None:
        self._beaten_s = self._clock()
        self._look_for_the_first_sample()
        if self._is_something_unsaid:
            self._is_something_unsaid = False
            self._feed(LinkRestored())  # whatever was lost, by a link or for want of room
        heartbeat = Heartbeat(
            self._boot_id,
            self._session.state.value,
            self._session.round,
            self._beaten_s - self._started_s,
        )
        self._publish("heartbeat", heartbeat, qos=0)

    def _on_samples(self, samples: int) -> None:
        """Say how many samples there are, where that has changed."""
        self._is_looking = False
        if samples != self._samples:
            self._samples = samples
            self._say(self._presence)

    def _look_for_the_first_sample(self) -> None:
        """A device without samples is given no round in which it would look by itself."""
        if self._samples or self._worker or self._is_looking:
            return
        self._is_looking = True
        # On a thread: to read many files at once would silence the heartbeat.
        look = Look(self._data, self._link.post)
        threading.Thread(target=look.run, name="pfedfrz-look", daemon=True).start()

    def _on_message(self, message: Message) -> None:
        if not message.payload:
            return  # retained state was cleared
        try:
            if message.topic == self._topics.coordinator_status:
                self._on_coordinator(message)
                return
            event = self._understand(message)
        except ProtocolError as error:
            if error.reason is RejectReason.WRONG_SIGNATURE and message.topic in (
                self._topics.round,
                self._topics.control,
                self._topics.bundle,
            ):
                self._unproved[message.topic] = message
            self._ignored += 1
            if self._ignored & (self._ignored - 1) == 0:  # a flood of messages is none of the log
                log.warning("ignored a message on %s: %s", message.topic, error)
            return
        if event:
            self._feed(event)

    def _on_coordinator(self, message: Message) -> None:
        if self._trust.hear_status(message.topic, message.payload):
            # What came before the key was known may be good now.
            unproved, self._unproved = self._unproved, {}
            for waiting in unproved.values():
                self._on_message(waiting)

    def _understand(self, message: Message) -> Event | None:
        topics, topic, payload = self._topics, message.topic, message.payload
        if topic == topics.round:
            announcement = self._trust.open(topic, payload, RoundAnnouncement)
            return AnnouncementSeen(announcement, self._trust.key or "", message.retained)
        if topic == topics.control:
            return ControlSeen(self._trust.open(topic, payload, Control), message.retained)
        if topic == topics.device(self._settings.device, "command"):
            command: Command = self._trust.open(topic, payload, Command)  # type: ignore[arg-type]
            return CommandSeen(command)
        answers = self._follower.hear(topic, payload, self._trust) if self._follower else None
        if answers is not None:
            self._answer(answers)
            return None
        chunk = topics.parse_model_chunk(topic)
        return ChunkSeen(*chunk, payload) if chunk else None

    def _answer(self, answers: Sequence[DeviceEvent]) -> None:
        for answer in answers:
            self._publish("event", answer)

    # What the session decides

    def _feed(self, event: Event) -> None:
        for action in self._session.handle(event):
            if isinstance(action, KeepPending):
                try:
                    self._outbox.put(action.update)
                except OperationError as error:
                    # What would come next is to announce it, which is for kept updates only.
                    self._feed(UpdateNotKept(str(error)))
                    return
            else:
                self._execute(action)

    def _execute(self, action: Action) -> None:
        link, topics = self._link, self._topics
        match action:
            case FetchModel(version, numbers):
                for number in numbers:
                    link.subscribe(topics.model_chunk(version, number))
            case StopFetching(version, numbers):
                for number in numbers:
                    link.unsubscribe(topics.model_chunk(version, number))
            case KeepChunk(transfer, number, data):
                self._downloads.keep(transfer, number, data)
            case StartWork():
                self._is_paused = False  # work is begun only where the device may train
                self._start_work(action)
            case CancelWork():
                self._next_work = None
                if self._worker:
                    self._worker.cancel()
            case PauseWork() | ResumeWork():
                self._pause(isinstance(action, PauseWork))
            case Announce(said):
                if not self._publish("event", said):
                    self._is_something_unsaid = True
            case Upload(number, payload, wanted):
                chunks = split_chunks(payload)
                device = self._settings.device
                items = [(topics.update_chunk(device, number, n), chunks[n]) for n in wanted]
                try:
                    link.publish_bulk(items, tag=_UPLOAD_TAG)
                except (LinkOverflow, PayloadTooLarge) as error:
                    # The coordinator asks again when its grant has expired.
                    log.error("the update of round %d cannot be sent: %s", number, error)
            case CancelUpload():
                link.drop_bulk(_UPLOAD_TAG)
            case UpdateAccepted(number):
                self._feedback.accepted(number)
            case ForgetPending() | RememberSettled():
                self._settle(action)
            case Complain(text):
                log.warning("%s", text)
            case Quit():
                log.info("the federation is over")
                self._quit = self._quit or self._settings.exit_when_stopped

    def _start_work(self, work: StartWork) -> None:
        if self._worker:
            # Called off, it ends at its next batch. Two may not run at once, since both would
            # write the personal weights; and to wait here would silence the heartbeat.
            self._next_work = work
            return
        self._next_work = None
        if self._follower:
            self._follower.work_begins()
        self._worker = Worker(self._context, work, lambda: self._link.post(_WorkerEnded()))
        if self._is_paused:
            self._worker.pause()
        self._worker.start()

    def _pause(self, is_paused: bool) -> None:
        """Hold up the work, or let it go on: that under way, and that which waits for its end."""
        self._is_paused = is_paused
        if self._worker and is_paused:
            self._worker.pause()
        elif self._worker:
            self._worker.resume()

    def _settle(self, action: ForgetPending | RememberSettled) -> None:
        try:
            if isinstance(action, RememberSettled):
                self._outbox.settle(SettledRound(action.round, action.epoch))
            else:
                self._outbox.clear()
        except OperationError as error:
            # It costs work after a restart at most: an update that is offered twice is refused.
            log.error("%s", error)

    def _publish(self, leaf: str, message: DeviceEvent | Heartbeat, *, qos: int = 1) -> bool:
        """Whether the link took the message; a queue that is full does not end the device."""
        topic = self._topics.device(self._settings.device, leaf)
        try:
            self._link.publish(topic, sign_message(message, topic, self._identity.key), qos=qos)
        except (LinkOverflow, PayloadTooLarge) as error:
            self._unsent += 1
            if self._unsent & (self._unsent - 1) == 0:  # at powers of two: not a flood on the disk
                log.warning("a message was not sent (%d so far): %s", self._unsent, error)
            return False
        return True
