from dataclasses import replace

import msgspec
import numpy as np
import pytest
from identities import COORDINATOR, key_of
from tiny_bundle import SHARED, make_bundle

from pfedfrz_edge.download_store import StoredDownload
from pfedfrz_edge.outbox import PendingUpdate
from pfedfrz_edge.session import DeviceSession
from pfedfrz_edge.session_exchange import (
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
    WorkKey,
)
from pfedfrz_edge.session_states import SessionState
from pfedfrz_protocol import (
    CHUNK_BYTES,
    Accepted,
    Control,
    DesiredState,
    Evaluated,
    Grant,
    LocalReport,
    ModelLabel,
    ModelReference,
    NotAdmitted,
    Parameters,
    Purpose,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    RoundFailed,
    SharedCodec,
    UpdateReady,
    describe_transfer,
    seal_tensors,
    tensors_digest,
)

MANIFEST = make_bundle().manifest
CODEC = SharedCodec.for_manifest(MANIFEST)
REPORT = LocalReport(100, 0.5, 0.6)


def shared(version: int) -> Parameters:
    random = np.random.default_rng(version)
    return {n: random.normal(size=s).astype(np.float32) for n, s in SHARED.items()}


def payload(version: int) -> bytes:
    return seal_tensors(CODEC.encode(shared(version), ModelLabel(version)), key_of(COORDINATOR))


def reference(version: int) -> ModelReference:
    return ModelReference(
        version, tensors_digest(shared(version)), describe_transfer(payload(version))
    )


def announce(
    number: int,
    *,
    epoch: int = 1,
    selected: tuple[str, ...] = ("me",),
    purpose: Purpose = Purpose.TRAIN,
    bundle: str = MANIFEST.digest,
    version: int | None = None,
    stale_rounds: int = 0,
    retained: bool = False,
) -> AnnouncementSeen:
    model = reference(number - 1 if version is None else version)
    announcement = RoundAnnouncement(number, epoch, bundle, purpose, model, selected, 9.0)
    announcement = msgspec.structs.replace(announcement, stale_rounds=stale_rounds)
    return AnnouncementSeen(announcement, key_of(COORDINATOR).public, retained)


def key(number: int) -> WorkKey:
    return WorkKey(number, reference(number - 1).digest)


def update(number: int) -> PendingUpdate:
    return PendingUpdate(number, reference(number - 1).digest, REPORT, b"payload %d" % number)


def session(
    pending: PendingUpdate | None = None, settled: tuple[int, int] | None = None
) -> DeviceSession:
    return DeviceSession("me", "boot", MANIFEST.digest, CODEC, pending, settled)


def chunk(version: int) -> ChunkSeen:
    return ChunkSeen(version, 0, payload(version))


def ready(number: int, epoch: int = 1) -> Announce:
    event = UpdateReady(
        number,
        epoch,
        "boot",
        reference(number - 1).digest,
        describe_transfer(update(number).payload),
        REPORT,
    )
    return Announce(event)


def kinds(actions: list[Action]) -> list[type]:
    return [type(action) for action in actions]


def trained(number: int = 1) -> DeviceSession:
    """A session whose update for the round is announced."""
    mine = session()
    mine.handle(announce(number))
    mine.handle(chunk(number - 1))
    mine.handle(UpdateTrained(key(number), update(number)))
    assert mine.state is SessionState.READY
    return mine


def test_a_round_from_announcement_to_acknowledgement() -> None:
    mine = session()
    assert mine.handle(announce(1)) == [FetchModel(0, (0,))]
    keep, stop, work = mine.handle(chunk(0))
    assert keep == KeepChunk(describe_transfer(payload(0)), 0, payload(0))
    assert stop == StopFetching(0, (0,))
    assert isinstance(work, StartWork)
    assert work.key == key(1)
    assert work.downloaded_bytes == len(payload(0))
    for name, tensor in shared(0).items():
        np.testing.assert_array_equal(work.received[name], tensor)
    assert mine.handle(UpdateTrained(key(1), update(1))) == [KeepPending(update(1)), ready(1)]
    assert mine.handle(CommandSeen(Grant(1, 1))) == [Upload(1, update(1).payload, (0,))]
    assert mine.handle(CommandSeen(Accepted(1, 1))) == [
        CancelUpload(),
        UpdateAccepted(1),
        RememberSettled(1, 1),
        ForgetPending(),
    ]
    assert mine.state is SessionState.IDLE
    assert mine.handle(announce(1)) == []


def test_a_model_that_is_held_is_not_fetched_again() -> None:
    mine = session()
    mine.handle(announce(1, purpose=Purpose.EVALUATE))
    mine.handle(chunk(0))
    mine.handle(EvaluationDone(key(1), REPORT))
    (work,) = mine.handle(announce(2, version=0))
    assert isinstance(work, StartWork)
    assert work.downloaded_bytes == 0


def test_an_evaluation_is_answered_and_nothing_is_uploaded() -> None:
    mine = session()
    mine.handle(announce(1, purpose=Purpose.EVALUATE))
    mine.handle(chunk(0))
    assert mine.handle(EvaluationDone(key(1), REPORT)) == [
        Announce(Evaluated(1, 1, "boot", REPORT))
    ]
    assert mine.state is SessionState.IDLE


def test_work_that_breaks_is_told_to_the_coordinator() -> None:
    mine = session()
    mine.handle(announce(1))
    mine.handle(chunk(0))
    complaint, told = mine.handle(WorkBroken(key(1), "it diverged"))
    assert isinstance(complaint, Complain)
    assert told == Announce(RoundFailed(1, 1, "boot", "it diverged"))


def test_a_device_that_is_not_selected_stays_idle() -> None:
    mine = session()
    assert mine.handle(announce(1, selected=("other",))) == []
    assert mine.state is SessionState.IDLE


@pytest.mark.parametrize("moment", ["fetching", "working", "ready", "uploading"])
def test_the_next_round_supersedes_whatever_is_going_on(moment: str) -> None:
    mine = session()
    mine.handle(announce(1))
    leaving: dict[str, list[Action]] = {
        "fetching": [StopFetching(0, (0,))],
        "working": [CancelWork()],
        "ready": [],
        "uploading": [CancelUpload()],
    }
    if moment != "fetching":
        mine.handle(chunk(0))
    if moment in ("ready", "uploading"):
        mine.handle(UpdateTrained(key(1), update(1)))
    if moment == "uploading":
        mine.handle(CommandSeen(Grant(1, 1)))
    forget = [ForgetPending()] if moment in ("ready", "uploading") else []
    assert mine.handle(announce(2)) == [*leaving[moment], *forget, FetchModel(1, (0,))]
    assert mine.handle(UpdateTrained(key(1), update(1))) == []


def test_work_that_is_still_welcome_is_finished_before_the_newest_round_is_begun() -> None:
    mine = session()
    mine.handle(announce(1, stale_rounds=2))
    mine.handle(chunk(0))
    assert mine.handle(announce(2, stale_rounds=2)) == []
    assert mine.state is SessionState.WORKING
    assert mine.handle(UpdateTrained(key(1), update(1))) == [KeepPending(update(1)), ready(1)]
    assert mine.handle(announce(3, epoch=2, stale_rounds=2)) == [ready(1, epoch=2)]
    assert kinds(mine.handle(CommandSeen(Grant(1, 1)))) == []
    assert kinds(mine.handle(CommandSeen(Grant(1, 2)))) == [Upload]
    assert mine.handle(CommandSeen(Accepted(1, 2))) == [
        CancelUpload(),
        UpdateAccepted(1),
        RememberSettled(1, 2),
        ForgetPending(),
        FetchModel(2, (0,)),
    ]


def test_an_upload_under_way_is_said_again_when_the_next_round_opens() -> None:
    mine = session()
    mine.handle(announce(1, stale_rounds=5))
    mine.handle(chunk(0))
    mine.handle(UpdateTrained(key(1), update(1)))
    mine.handle(CommandSeen(Grant(1, 1)))
    assert mine.handle(announce(2, stale_rounds=5)) == [CancelUpload(), ready(1)]


@pytest.mark.parametrize("moment", ["fetching", "too late", "an evaluation"])
def test_what_is_not_welcome_any_more_is_left(moment: str) -> None:
    mine = session()
    mine.handle(announce(1, stale_rounds=1))
    if moment != "fetching":
        mine.handle(chunk(0))
    number = 3 if moment == "too late" else 2
    purpose = Purpose.EVALUATE if moment == "an evaluation" else Purpose.TRAIN
    left, fetch = mine.handle(announce(number, stale_rounds=1, purpose=purpose))
    assert isinstance(left, StopFetching if moment == "fetching" else CancelWork)
    assert fetch == FetchModel(number - 1, (0,))


def test_after_late_work_that_broke_the_newest_round_is_begun() -> None:
    mine = session()
    mine.handle(announce(1, stale_rounds=2))
    mine.handle(chunk(0))
    mine.handle(announce(2, stale_rounds=2))
    assert kinds(mine.handle(WorkBroken(key(1), "NaN"))) == [Complain, Announce, FetchModel]


def test_a_reopened_round_gets_the_same_update_under_its_new_epoch() -> None:
    mine = trained()
    assert mine.handle(announce(1, epoch=2)) == [ready(1, epoch=2)]
    assert mine.handle(CommandSeen(Grant(1, 1))) == []
    assert kinds(mine.handle(CommandSeen(Grant(1, 2)))) == [Upload]


def test_a_reopened_round_does_not_disturb_work_under_way() -> None:
    mine = session()
    mine.handle(announce(1))
    mine.handle(chunk(0))
    assert mine.handle(announce(1, epoch=2)) == []
    assert mine.handle(UpdateTrained(key(1), update(1)))[-1] == ready(1, epoch=2)


def test_after_a_lost_link_the_update_is_announced_again() -> None:
    mine = trained()
    assert mine.handle(LinkRestored()) == [ready(1)]
    mine.handle(CommandSeen(Grant(1, 1)))
    assert mine.handle(LinkRestored()) == [CancelUpload(), ready(1)]
    assert mine.state is SessionState.READY


def test_announced_again_by_a_coordinator_that_was_away_the_update_is_announced_again() -> None:
    mine = trained()
    assert mine.handle(announce(1)) == [ready(1)]
    mine.handle(CommandSeen(Grant(1, 1)))
    assert mine.handle(announce(1)) == [CancelUpload(), ready(1)]
    assert kinds(mine.handle(CommandSeen(Grant(1, 1)))) == [Upload]


def answered(broken: bool) -> tuple[DeviceSession, Action]:
    """A session that has settled its round with an answer and no update."""
    mine = session()
    mine.handle(announce(1, purpose=Purpose.EVALUATE))
    mine.handle(chunk(0))
    over = WorkBroken(key(1), "it diverged") if broken else EvaluationDone(key(1), REPORT)
    return mine, mine.handle(over)[-1]


@pytest.mark.parametrize("broken", [False, True])
def test_an_answer_is_given_again_when_it_may_have_been_lost(broken: bool) -> None:
    mine, answer = answered(broken)
    assert mine.handle(LinkRestored()) == [answer]
    assert mine.handle(announce(1, purpose=Purpose.EVALUATE)) == [answer]
    assert mine.state is SessionState.IDLE


@pytest.mark.parametrize("broken", [False, True])
def test_an_answer_to_a_round_that_is_over_is_not_given_again(broken: bool) -> None:
    mine, _ = answered(broken)
    assert mine.handle(announce(2, selected=("other",))) == []
    assert mine.handle(LinkRestored()) == []


def test_a_round_opened_again_is_answered_anew() -> None:
    mine, _ = answered(broken=True)
    assert kinds(mine.handle(announce(1, epoch=2))) == [StartWork]
    assert mine.handle(LinkRestored()) == []


def test_a_round_opened_again_for_another_purpose_is_other_work() -> None:
    mine = trained()
    actions = mine.handle(announce(1, epoch=2, purpose=Purpose.EVALUATE))
    assert kinds(actions) == [ForgetPending, StartWork]
    assert mine.handle(UpdateTrained(key(1), update(1))) == []
    assert kinds(mine.handle(EvaluationDone(key(1), REPORT))) == [Announce]


def test_a_model_that_did_not_come_is_fetched_anew_when_the_round_is_opened_again() -> None:
    mine = session()
    mine.handle(announce(1))
    assert mine.handle(announce(1)) == []
    assert mine.handle(announce(1, epoch=2)) == [StopFetching(0, (0,)), FetchModel(0, (0,))]
    assert kinds(mine.handle(chunk(0))) == [KeepChunk, StopFetching, StartWork]


def test_a_second_grant_uploads_from_the_beginning() -> None:
    mine = trained()
    mine.handle(CommandSeen(Grant(1, 1)))
    again = mine.handle(CommandSeen(Grant(1, 1)))
    assert again == [CancelUpload(), Upload(1, update(1).payload, (0,))]


def test_only_the_chunks_that_the_coordinator_lacks_are_uploaded() -> None:
    large = PendingUpdate(1, reference(0).digest, REPORT, bytes(5 * CHUNK_BYTES))
    mine = session(large)
    mine.handle(announce(1))
    (upload,) = mine.handle(CommandSeen(Grant(1, 1, ((1, 1), (3, 90)))))
    assert upload == Upload(1, large.payload, (1, 3, 4))


def test_a_model_that_is_on_the_disk_is_not_fetched() -> None:
    kept = StoredDownload(describe_transfer(payload(0)), {0: payload(0)})
    mine = DeviceSession("me", "boot", MANIFEST.digest, CODEC, stored=kept)
    (work,) = mine.handle(announce(1))
    assert isinstance(work, StartWork)
    assert work.downloaded_bytes == 0


def test_a_model_of_another_signer_is_not_trained_on() -> None:
    mine = session()
    event = announce(1)
    mine.handle(AnnouncementSeen(event.announcement, key_of("somebody").public))
    actions = mine.handle(chunk(0))
    assert StartWork not in kinds(actions)
    (complaint,) = (a for a in actions if isinstance(a, Complain))
    assert "wrong-signature" in complaint.text


def test_not_being_admitted_is_said_and_waited_out() -> None:
    mine = session()
    word = NotAdmitted(RejectReason.NOT_ENROLLED, "pfedfrz devices accept me")
    (complaint,) = mine.handle(CommandSeen(word))
    assert isinstance(complaint, Complain)
    assert "not-enrolled: pfedfrz devices accept me" in complaint.text
    assert kinds(mine.handle(announce(1))) == [FetchModel]


def test_after_a_restart_the_pending_update_is_uploaded_without_training() -> None:
    mine = session(update(1))
    assert mine.handle(announce(1, epoch=7)) == [ready(1, epoch=7)]
    assert kinds(mine.handle(CommandSeen(Grant(1, 7)))) == [Upload]


def test_a_pending_update_for_another_round_or_model_is_forgotten() -> None:
    mine = session(update(1))
    assert mine.handle(announce(2)) == [ForgetPending(), FetchModel(1, (0,))]


def test_a_rejection_is_said_and_settles_the_round() -> None:
    mine = trained()
    verdict = Rejected(1, 1, RejectReason.NORM_EXCEEDED, "too far")
    complaint, remember, forget = mine.handle(CommandSeen(verdict))
    assert isinstance(complaint, Complain)
    assert "norm-exceeded: too far" in complaint.text
    assert (remember, forget) == (RememberSettled(1, 1), ForgetPending())
    assert mine.handle(announce(1)) == []


def test_a_wiped_coordinator_that_begins_at_round_one_is_followed() -> None:
    mine = trained(5)
    assert mine.handle(announce(1, epoch=9)) == [ForgetPending(), FetchModel(0, (0,))]


def test_an_older_announcement_changes_nothing() -> None:
    mine = trained(5)
    assert mine.handle(announce(4)) == []
    assert mine.state is SessionState.READY


def test_a_coordinator_with_another_bundle_is_complained_of_once_and_ignored() -> None:
    mine = session()
    (complaint,) = mine.handle(announce(1, bundle="e" * 64))
    assert isinstance(complaint, Complain)
    assert mine.handle(announce(2, bundle="e" * 64)) == []
    assert mine.state is SessionState.IDLE


def test_a_model_with_a_wrong_digest_is_not_trained_on() -> None:
    mine = session()
    mine.handle(announce(1))
    (complaint,) = mine.handle(ChunkSeen(0, 0, bytes(len(payload(0)))))
    assert isinstance(complaint, Complain)
    assert mine.state is SessionState.FETCHING
    assert kinds(mine.handle(chunk(0))) == [KeepChunk, StopFetching, StartWork]


def test_a_model_that_is_too_large_is_not_fetched() -> None:
    event = announce(1)
    huge = describe_transfer(bytes(10))
    announcement = RoundAnnouncement(
        1,
        1,
        MANIFEST.digest,
        Purpose.TRAIN,
        ModelReference(0, "a" * 64, type(huge)(1 << 40, huge.sha256)),
        event.announcement.selected,
        9.0,
    )
    mine = session()
    assert kinds(mine.handle(AnnouncementSeen(announcement, ""))) == [Complain]
    assert mine.state is SessionState.IDLE


def test_after_a_restart_what_the_broker_held_from_before_the_settled_round_is_ignored() -> None:
    """A broker that was killed brings back what it had written down long ago."""
    mine = session(settled=(5, 7))
    for old in (announce(3, epoch=4), announce(6, epoch=5)):
        assert mine.handle(replace(old, retained=True)) == []
    assert mine.state is SessionState.IDLE
    assert kinds(mine.handle(replace(announce(8, epoch=5), retained=True))) == [FetchModel]


def test_after_a_restart_a_settled_round_is_not_worked_on_again() -> None:
    for pending in (None, update(1)):  # killed after, or between, remembering and forgetting
        mine = session(pending, settled=(5, 1))
        assert mine.handle(announce(1, epoch=5)) == []
        assert mine.state is SessionState.IDLE


@pytest.mark.parametrize(("number", "epoch"), [(1, 6), (2, 5), (1, 4)])
def test_after_a_restart_every_other_announcement_is_followed(number: int, epoch: int) -> None:
    # An older epoch too: a coordinator whose clock was set back must not be ignored for ever.
    mine = session(settled=(5, 1))
    assert kinds(mine.handle(announce(number, epoch=epoch))) == [FetchModel]


def test_an_update_that_the_disk_does_not_take_is_a_failure_and_the_next_round_works() -> None:
    mine = trained()
    complaint, told = mine.handle(UpdateNotKept("cannot write"))
    assert isinstance(complaint, Complain)
    assert told == Announce(RoundFailed(1, 1, "boot", "cannot write"))
    assert mine.handle(CommandSeen(Grant(1, 1))) == []
    assert mine.handle(announce(1)) == [told]
    assert mine.handle(announce(2)) == [FetchModel(1, (0,))]
    assert mine.handle(UpdateNotKept("cannot write")) == []


STOP = Control(DesiredState.STOP, 3)


def test_a_stop_that_the_broker_held_from_an_earlier_run_does_not_end_a_new_device() -> None:
    mine = session()
    assert mine.handle(ControlSeen(STOP, retained=True)) == []
    assert mine.handle(ControlSeen(Control(DesiredState.RUN, 4))) == []
    mine.handle(announce(1, epoch=4))
    assert Quit() in mine.handle(ControlSeen(Control(DesiredState.STOP, 4)))


def test_a_stop_that_is_said_now_ends_a_device_that_has_heard_nothing_else() -> None:
    assert session().handle(ControlSeen(STOP)) == [Quit()]


@pytest.mark.parametrize("heard", [announce(1), ControlSeen(Control(DesiredState.RUN, 3), True)])
def test_a_stop_that_was_said_while_the_device_was_away_from_the_broker_ends_it(
    heard: AnnouncementSeen | ControlSeen,
) -> None:
    mine = session()
    mine.handle(heard)
    assert Quit() in mine.handle(ControlSeen(STOP, retained=True))


@pytest.mark.parametrize("retained", [False, True])
def test_a_stop_older_than_the_announced_round_changes_nothing(retained: bool) -> None:
    mine = session()
    mine.handle(announce(1, epoch=4))
    assert mine.handle(ControlSeen(STOP, retained)) == []
    assert mine.state is SessionState.FETCHING


def test_stop_leaves_everything_and_quits() -> None:
    mine = session()
    mine.handle(announce(1))
    actions = mine.handle(ControlSeen(Control(DesiredState.STOP, 1)))
    assert actions == [StopFetching(0, (0,)), Quit()]
    assert mine.handle(ControlSeen(Control(DesiredState.PAUSE, 1))) == []


# While the device may not train


def test_a_round_waits_and_begins_when_the_device_may_train() -> None:
    mine = session()
    assert mine.handle(ConditionsUnmet()) == []
    assert mine.handle(announce(1)) == []
    assert (mine.state, mine.round) == (SessionState.WAITING, 1)
    assert mine.handle(LinkRestored()) == mine.handle(announce(1)) == []
    assert mine.handle(chunk(0)) == []
    assert mine.handle(ConditionsMet()) == [FetchModel(0, (0,))]
    assert kinds(mine.handle(chunk(0))) == [KeepChunk, StopFetching, StartWork]


def test_a_model_that_is_held_is_worked_on_as_soon_as_the_device_may() -> None:
    mine = session()
    mine.handle(announce(1, purpose=Purpose.EVALUATE))
    mine.handle(chunk(0))
    mine.handle(EvaluationDone(key(1), REPORT))
    mine.handle(ConditionsUnmet())
    assert mine.handle(announce(2, version=0)) == []
    assert kinds(mine.handle(ConditionsMet())) == [StartWork]


def test_a_download_is_let_go_and_taken_up_where_it_was() -> None:
    mine = session()
    mine.handle(announce(1))
    assert mine.handle(ConditionsUnmet()) == [StopFetching(0, (0,))]
    assert mine.state is SessionState.WAITING
    assert mine.handle(ConditionsUnmet()) == []
    assert mine.handle(ConditionsMet()) == [FetchModel(0, (0,))]
    assert mine.handle(ConditionsMet()) == []


def test_work_is_paused_and_goes_on() -> None:
    mine = session()
    mine.handle(announce(1))
    mine.handle(chunk(0))
    assert mine.handle(ConditionsUnmet()) == [PauseWork()]
    assert mine.state is SessionState.PAUSED
    assert mine.handle(announce(1, epoch=2)) == []  # opened again: the same work is good for it
    assert mine.handle(ConditionsMet()) == [ResumeWork()]
    assert mine.state is SessionState.WORKING
    assert mine.handle(UpdateTrained(key(1), update(1))) == [KeepPending(update(1)), ready(1, 2)]


@pytest.mark.parametrize("purpose", list(Purpose))
def test_work_that_ends_as_it_is_paused_counts(purpose: Purpose) -> None:
    mine = session()
    mine.handle(announce(1, purpose=purpose))
    mine.handle(chunk(0))
    mine.handle(ConditionsUnmet())
    if purpose is Purpose.TRAIN:
        assert mine.handle(UpdateTrained(key(1), update(1))) == [KeepPending(update(1)), ready(1)]
        assert mine.handle(CommandSeen(Grant(1, 1))) == [Upload(1, update(1).payload, (0,))]
    else:
        answer = Announce(Evaluated(1, 1, "boot", REPORT))
        assert mine.handle(EvaluationDone(key(1), REPORT)) == [answer]
    assert mine.handle(ConditionsMet()) == []


def test_a_superseded_round_is_called_off_although_it_is_paused() -> None:
    mine = session()
    mine.handle(announce(1))
    mine.handle(chunk(0))
    mine.handle(ConditionsUnmet())
    assert mine.handle(announce(2)) == [CancelWork()]
    assert mine.state is SessionState.WAITING
    assert mine.handle(ConditionsMet()) == [FetchModel(1, (0,))]


def test_a_round_that_waits_is_forgotten_when_it_is_over() -> None:
    mine = session()
    mine.handle(ConditionsUnmet())
    mine.handle(announce(1, stale_rounds=5))
    assert mine.handle(announce(2, selected=("other",), stale_rounds=5)) == []
    assert mine.state is SessionState.IDLE
    assert mine.handle(ConditionsMet()) == []


def test_an_update_of_before_is_delivered_although_the_device_may_not_train() -> None:
    mine = session(update(1))
    mine.handle(ConditionsUnmet())
    assert mine.handle(announce(1)) == [ready(1)]
    assert kinds(mine.handle(CommandSeen(Grant(1, 1)))) == [Upload]


def test_a_model_that_can_never_be_fetched_does_not_leave_the_device_waiting() -> None:
    mine = session()
    mine.handle(ConditionsUnmet())
    seen = announce(1)
    huge = replace(seen, announcement=msgspec.structs.replace(
        seen.announcement, model=msgspec.structs.replace(
            seen.announcement.model, transfer=msgspec.structs.replace(
                seen.announcement.model.transfer, payload_bytes=1 << 40))))  # fmt: skip
    mine.handle(huge)
    assert kinds(mine.handle(ConditionsMet())) == [Complain]
    assert mine.state is SessionState.IDLE
    assert mine.handle(announce(2)) == [FetchModel(1, (0,))]
