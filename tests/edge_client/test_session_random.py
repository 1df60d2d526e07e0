"""The device session under any order of events: nothing raises, and its promises hold."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from identities import COORDINATOR, key_of
from tiny_bundle import SHARED, make_bundle

from pfedfrz_edge.outbox import PendingUpdate
from pfedfrz_edge.session import DeviceSession
from pfedfrz_edge.session_exchange import (
    Announce,
    AnnouncementSeen,
    CancelUpload,
    CancelWork,
    ChunkSeen,
    CommandSeen,
    ConditionsMet,
    ConditionsUnmet,
    ControlSeen,
    EvaluationDone,
    Event,
    FetchModel,
    ForgetPending,
    KeepPending,
    LinkRestored,
    PauseWork,
    ResumeWork,
    StartWork,
    StopFetching,
    UpdateNotKept,
    UpdateTrained,
    Upload,
    WorkBroken,
    WorkKey,
)
from pfedfrz_edge.session_states import SessionState
from pfedfrz_protocol import (
    Accepted,
    Control,
    DesiredState,
    Grant,
    LocalReport,
    ModelLabel,
    ModelReference,
    Purpose,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    SharedCodec,
    UpdateReady,
    describe_transfer,
    seal_tensors,
    tensors_digest,
)

MANIFEST = make_bundle().manifest
CODEC = SharedCodec.for_manifest(MANIFEST)
VERSIONS = 3


def _models() -> list[tuple[bytes, ModelReference]]:
    made = []
    for version in range(VERSIONS):
        random = np.random.default_rng(version)
        tensors = {n: random.normal(size=s).astype(np.float32) for n, s in SHARED.items()}
        payload = seal_tensors(CODEC.encode(tensors, ModelLabel(version)), key_of(COORDINATOR))
        reference = ModelReference(version, tensors_digest(tensors), describe_transfer(payload))
        made.append((payload, reference))
    return made


MODELS = _models()
ROUNDS = st.integers(0, VERSIONS)
EPOCHS = st.integers(0, 3)


def pending(number: int) -> PendingUpdate:
    model = MODELS[max(0, number - 1)][1]
    return PendingUpdate(number, model.digest, LocalReport(5), b"u%d" % number)


class SessionMachine(RuleBasedStateMachine):
    """Sends anything at any time and watches what the agent would be told to do."""

    @initialize(held=st.none() | st.integers(1, VERSIONS))
    def begin(self, held: int | None) -> None:
        self.on_disk = pending(held) if held else None
        self.session = DeviceSession("me", "boot", MANIFEST.digest, CODEC, self.on_disk)
        self.subscribed: set[int] = set()
        self.working: WorkKey | None = None
        self.may_train = True
        self.paused = False
        self.purpose = Purpose.TRAIN
        self.disk_is_full = False
        self.announced: RoundAnnouncement | None = None

    @rule(is_full=st.booleans())
    def disk(self, is_full: bool) -> None:
        self.disk_is_full = is_full

    def send(self, event: Event) -> None:
        for action in self.session.handle(event):
            match action:
                case FetchModel(version, chunks):
                    assert chunks == (0,)
                    assert not self.subscribed
                    assert self.may_train
                    self.subscribed.add(version)
                case StopFetching(version, chunks):
                    assert chunks == (0,)
                    self.subscribed.remove(version)
                case StartWork(key, announcement, received, _):
                    # Never two pieces of work, and never on anything but the announced model.
                    assert self.working is None
                    assert self.may_train
                    self.paused = False
                    assert tensors_digest(received) == announcement.model.digest == key.digest
                    assert "me" in announcement.selected
                    self.working, self.purpose = key, announcement.purpose
                case CancelWork():
                    assert self.working is not None
                    self.working = None
                case PauseWork():
                    assert self.working is not None
                    assert not self.paused
                    assert not self.may_train
                    self.paused = True
                case ResumeWork():
                    assert self.working is not None
                    assert self.paused
                    assert self.may_train
                    self.paused = False
                case KeepPending() if self.disk_is_full:
                    self.send(UpdateNotKept("full"))
                    break
                case KeepPending(update):
                    self.on_disk = update
                case ForgetPending():
                    assert self.on_disk is not None
                    self.on_disk = None
                case Announce(UpdateReady() as ready):
                    # An update is announced only when it is on disk.
                    assert self.on_disk is not None
                    assert (ready.round, ready.base) == (self.on_disk.round, self.on_disk.base)
                case Upload(number, payload, _):
                    assert self.on_disk is not None
                    assert (number, payload) == (self.on_disk.round, self.on_disk.payload)
                case CancelUpload() | _:
                    pass
        if self.session.state in (SessionState.WORKING, SessionState.PAUSED):
            assert self.working is not None
            assert self.paused == (self.session.state is SessionState.PAUSED)
            assert self.paused != self.may_train
        if self.session.state is SessionState.WAITING:
            assert not self.may_train
        if self.session.state in (SessionState.READY, SessionState.UPLOADING):
            assert self.on_disk is not None
        assert bool(self.subscribed) == (self.session.state is SessionState.FETCHING)

    @rule(
        number=st.integers(1, VERSIONS),
        epoch=EPOCHS,
        selected=st.booleans(),
        evaluate=st.booleans(),
        foreign=st.sampled_from([False, False, False, True]),
    )
    def announce(
        self, number: int, epoch: int, selected: bool, evaluate: bool, foreign: bool
    ) -> None:
        self.send(
            AnnouncementSeen(
                RoundAnnouncement(
                    number,
                    epoch,
                    "f" * 64 if foreign else MANIFEST.digest,
                    Purpose.EVALUATE if evaluate else Purpose.TRAIN,
                    MODELS[number - 1][1],
                    ("me", "other") if selected else ("other",),
                    9.0,
                ),
                key_of(COORDINATOR).public,
            )
        )

    @rule(version=st.integers(0, VERSIONS - 1), number=st.integers(0, 1), cut=st.booleans())
    def chunk(self, version: int, number: int, cut: bool) -> None:
        payload = MODELS[version][0]
        self.send(ChunkSeen(version, number, payload[:-1] if cut else payload))

    @rule()
    def right_chunk(self) -> None:
        for version in tuple(self.subscribed):
            self.send(ChunkSeen(version, 0, MODELS[version][0]))

    @rule(fails=st.booleans())
    def work_ends(self, fails: bool) -> None:
        key, self.working = self.working, None
        if key is None:
            return
        if fails:
            self.send(WorkBroken(key, "broken"))
        elif self.purpose is Purpose.EVALUATE:
            self.send(EvaluationDone(key, LocalReport(5)))
        else:
            update = PendingUpdate(key.round, key.digest, LocalReport(5), b"u%d" % key.round)
            self.send(UpdateTrained(key, update))

    @rule(number=st.integers(1, VERSIONS))
    def stale_work_ends(self, number: int) -> None:
        key = WorkKey(number, "0" * 64)
        self.send(UpdateTrained(key, pending(number)))
        self.send(EvaluationDone(key, LocalReport(5)))

    @rule(number=ROUNDS, epoch=EPOCHS, which=st.sampled_from(["grant", "accept", "reject"]))
    def command(self, number: int, epoch: int, which: str) -> None:
        command = {
            "grant": Grant(number, epoch),
            "accept": Accepted(number, epoch),
            "reject": Rejected(number, epoch, RejectReason.LATE, "over"),
        }[which]
        self.send(CommandSeen(command))

    @rule(may_train=st.booleans())
    def conditions(self, may_train: bool) -> None:
        self.may_train = may_train
        self.send(ConditionsMet() if may_train else ConditionsUnmet())

    @rule()
    def reconnect(self) -> None:
        self.send(LinkRestored())

    @rule(desired=st.sampled_from(list(DesiredState)), epoch=EPOCHS, retained=st.booleans())
    def control(self, desired: DesiredState, epoch: int, retained: bool) -> None:
        self.send(ControlSeen(Control(desired, epoch), retained))

    def teardown(self) -> None:
        """From wherever it is, a new round can be done from beginning to end."""
        if not hasattr(self, "session"):
            return
        self.disk_is_full = False
        self.conditions(True)
        self.send(
            AnnouncementSeen(
                RoundAnnouncement(
                    1, 99, MANIFEST.digest, Purpose.TRAIN, MODELS[0][1], ("me",), 9.0
                ),
                key_of(COORDINATOR).public,
            )
        )
        self.right_chunk()
        self.work_ends(False)
        assert self.session.state is SessionState.READY
        self.send(CommandSeen(Grant(1, 99)))
        assert self.session.state is SessionState.UPLOADING
        self.send(CommandSeen(Accepted(1, 99)))
        assert self.session.state is SessionState.IDLE
        assert self.on_disk is None


SessionMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestSessionUnderRandomOrders = SessionMachine.TestCase
