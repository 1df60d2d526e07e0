"""The device as a process: one loop that feeds the session and executes what it decides."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pfedfrz_protocol import (
    Bundle,
    BundleInstalled,
    BundleRefused,
    OperationError,
    PhaseProgress,
    Presence,
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

from .bundle_exchange import BundleChecked
from .bundle_follower import BundleFollower
from .conditions import ConditionWatch, watch_conditions
from .configuration import DeviceSettings
from .data import DataFeed
from .device_stores import DeviceStores
from .feature_cache import FeatureBudget
from .inbox import Inbox
from .label_mix import shared_label_mix
from .local_training import LocalTraining
from .publisher import DevicePublisher
from .runtimes import Runtime
from .session import DeviceSession
from .session_exchange import (
    Action,
    Announce,
    CancelUpload,
    CancelWork,
    Complain,
    ConditionsMet,
    ConditionsUnmet,
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
from .work_runner import WorkerEnded, WorkRunner
from .worker import Look, SamplesSeen, Tamper, WorkerContext

__all__ = ["DeviceAgent", "new_boot_id"]

log = logging.getLogger(__name__)


def new_boot_id() -> str:
    """A name for one life of a device's process."""
    return secrets.token_hex(8)


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
        self._link = link
        self._clock = clock
        self._manager = manager or ServiceManager()
        self._started_s = self._beaten_s = clock()
        self._topics = Topics(settings.federation)
        self._data = data
        first = data.latest()
        self._samples = len(first.train)
        self._mix = shared_label_mix(
            settings.share_label_mix, bundle.manifest.input, bundle.manifest.loss
        )
        self._label_counts = self._mix.of(first)
        self._is_looking = False
        digest = bundle.manifest.digest
        codec = SharedCodec.for_manifest(bundle.manifest)
        self._stores = stores = DeviceStores.open(home, digest, codec)
        context = WorkerContext(
            LocalTraining(
                runtime,
                bundle.manifest,
                first,
                settings.device,
                settings.seed,
                budget=FeatureBudget(settings.feature_memory_mib << 20, home),
            ),
            codec,
            stores.personal,
            settings.encoding,
            boot_id,
            identity.key,
            bundle.initial_personal(),
            link.post,
            tamper,
            stores.feedback,
            data,
            models=stores.models,
            mix=self._mix,
        )
        self._trust = CoordinatorTrust(
            settings.state_dir, settings.federation, settings.coordinator_key
        )
        context.personal()  # a store that cannot be read is said now, not in a round
        self._inbox = Inbox(self._topics, settings.device, self._trust, follower)
        self._publisher = DevicePublisher(settings, bundle, boot_id, identity, link)
        self._work = WorkRunner(context, follower)
        self._session = DeviceSession(
            settings.device,
            boot_id,
            digest,
            codec,
            stores.pending_update(identity.key),
            stores.settled(),
            stores.downloads.load(codec.max_sealed_bytes),
        )
        self._conditions = conditions or watch_conditions(settings.conditions, clock=clock)
        self._status = StatusWriter(settings, digest, boot_id, self._samples, clock)
        self._is_something_unsaid = False
        self._quit = False

    def run(self) -> None:
        """Take part until the federation is over or `interrupt` is called."""
        link = self._link
        self._look_at_conditions()
        self._say(self._presence)
        self._show_status()
        self._inbox.subscribe(link)
        link.start()
        try:
            link.wait_until_up(self._settings.connect_timeout_s, cancelled=self._waits_no_more)
            while not (self._quit or (self._follower and self._follower.leaving)):
                self._turn()
        finally:
            if not (self._follower and self._follower.leaving):
                self._manager.stopping()  # another life follows otherwise
            self._work.close()
            if self._follower:
                self._follower.close()
            self._say(Presence.OFFLINE)
            link.close()
            self._status.end()

    def _waits_no_more(self) -> bool:
        # Ready since an earlier life, the watchdog wants to be fed also while the broker is away.
        self._manager.turn("waiting for the broker")
        return self._quit

    def interrupt(self) -> None:
        """End the process; may be called from a signal handler."""
        self._quit = True
        self._link.wake()

    def _say(self, presence: Presence) -> None:
        self._publisher.status(
            presence, self._samples, self._conditions.waiting_for, self._label_counts
        )

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
                self._publisher.progress(progress)
            case Posted(WorkerEnded()):
                self._work.ended()
            case Posted(SamplesSeen() as seen):
                self._on_samples(seen)
            case Posted(UpdateTrained() | EvaluationDone() | WorkBroken() as done):
                self._status.worked(done)
                self._feed(done)
                if self._follower and isinstance(done, WorkBroken):
                    self._follower.work_broke(done.detail)
                elif self._follower:
                    self._follower.work_done()
            case Posted(BundleChecked() as checked) if self._follower:
                for answer in self._follower.checked(checked):
                    self._publisher.event(answer)
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
        self._publisher.heartbeat(
            self._session.state.value, self._session.round, self._beaten_s - self._started_s
        )

    def _on_samples(self, seen: SamplesSeen) -> None:
        """Say how many samples there are, and of which classes, where that has changed."""
        self._is_looking = False
        if (seen.samples, seen.label_counts) != (self._samples, self._label_counts):
            self._samples, self._label_counts = seen.samples, seen.label_counts
            self._say(self._presence)

    def _look_for_the_first_sample(self) -> None:
        """A device without samples is given no round in which it would look by itself."""
        if self._samples or self._work.is_busy or self._is_looking:
            return
        self._is_looking = True
        # On a thread: to read many files at once would silence the heartbeat.
        look = Look(self._data, self._link.post, self._mix)
        threading.Thread(target=look.run, name="pfedfrz-look", daemon=True).start()

    def _on_message(self, message: Message) -> None:
        for heard in self._inbox.hear(message):
            if isinstance(heard, BundleInstalled | BundleRefused):
                self._publisher.event(heard)
            else:
                self._feed(heard)

    # What the session decides

    def _feed(self, event: Event) -> None:
        for action in self._session.handle(event):
            if isinstance(action, KeepPending):
                try:
                    self._stores.outbox.put(action.update)
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
                self._stores.downloads.keep(transfer, number, data)
            case StartWork():
                self._work.start(action)
            case CancelWork():
                self._work.cancel()
            case PauseWork():
                self._work.pause()
            case ResumeWork():
                self._work.resume()
            case Announce(said):
                if not self._publisher.event(said):
                    self._is_something_unsaid = True
            case Upload():
                self._publisher.upload(action)
            case CancelUpload():
                self._publisher.cancel_upload()
            case UpdateAccepted(number):
                self._stores.feedback.accepted(number)
            case ForgetPending() | RememberSettled():
                self._stores.settle(action)
            case Complain(text):
                log.warning("%s", text)
            case Quit():
                log.info("the federation is over")
                self._quit = self._quit or self._settings.exit_when_stopped
