from collections.abc import Sequence

import pytest

from pfedfrz_coordinator.engine import RoundEngine, StartingPoint
from pfedfrz_coordinator.engine_exchange import (
    Action,
    Aggregate,
    AggregationDone,
    CloseRound,
    ControlRequested,
    DeviceAppeared,
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
    UpdateStored,
    UploadProgressed,
)
from pfedfrz_coordinator.engine_states import EngineState
from pfedfrz_coordinator.policy import RoundPolicy
from pfedfrz_protocol import (
    Accepted,
    ConfigurationError,
    DesiredState,
    Grant,
    ModelReference,
    Purpose,
    Rejected,
    RejectReason,
    TransferReference,
)

BUNDLE = "b" * 64
TRANSFER = TransferReference(100, "c" * 64)


def model(version: int) -> ModelReference:
    return ModelReference(version, f"{version:064x}", TRANSFER)


class Driver:
    """An engine with a clock that the test moves."""

    def __init__(self, start: StartingPoint | None = None, **policy: object) -> None:
        settings = {"rounds": 2, "start_devices": 2, "deadline_s": 10.0, **policy}
        point = start or StartingPoint(model(0), epoch=5)
        self.now = 100.0
        self.engine = RoundEngine(RoundPolicy(**settings), BUNDLE, point, self.now)  # type: ignore[arg-type]

    def __call__(self, *events: Event) -> list[Action]:
        return [action for event in events for action in self.engine.handle(event, self.now)]

    def after(self, seconds: float) -> list[Action]:
        self.now += seconds
        return self(Tick())

    def appear(self, *devices: str) -> list[Action]:
        return self(*(DeviceAppeared(device) for device in devices))

    def offer(self, *devices: str, round_number: int = 1, base: str | None = None) -> list[Action]:
        digest = base or f"{round_number - 1:064x}"
        return self(
            *(
                UpdateOffered(device, round_number, self.engine.epoch, digest, TRANSFER)
                for device in devices
            )
        )

    def deliver(self, *devices: str, round_number: int = 1) -> list[Action]:
        return [
            *self.offer(*devices, round_number=round_number),
            *self(*(UpdateStored(device, round_number) for device in devices)),
        ]


def only(actions: Sequence[Action], kind: type) -> list[Action]:
    return [action for action in actions if isinstance(action, kind)]


def announced(actions: Sequence[Action]) -> OpenRound:
    (opened,) = only(actions, OpenRound)
    assert isinstance(opened, OpenRound)
    return opened


def test_a_round_opens_when_enough_devices_are_there() -> None:
    drive = Driver()
    assert drive.appear("a") == []
    announcement = announced(drive.appear("b")).announcement
    assert announcement.selected == ("a", "b")
    assert (announcement.round, announcement.epoch) == (1, 5)
    assert announcement.model == model(0)
    assert announcement.bundle == BUNDLE


def test_after_the_start_timeout_fewer_devices_suffice() -> None:
    drive = Driver(start_timeout_s=30.0)
    drive.appear("a")
    assert drive.after(29.9) == []
    assert announced(drive.after(0.1)).announcement.selected == ("a",)


def test_a_whole_federation_from_first_round_to_finish() -> None:
    drive = Driver(rounds=2)
    drive.appear("a", "b")
    for number in (1, 2):
        offered = drive.offer("b", "a", round_number=number)
        grants = [a.device for a in only(offered, SendCommand) if isinstance(a, SendCommand)]
        assert grants == ["b", "a"]
        stored = drive(UpdateStored("a", number))
        assert stored == [SendCommand("a", Accepted(number, 5))]
        last = drive(UpdateStored("b", number))
        assert last == [SendCommand("b", Accepted(number, 5)), Aggregate(number, ("a", "b"))]
        assert drive.engine.state is EngineState.AGGREGATING
        closed = drive(AggregationDone(model(number)))
        assert closed[0] == CloseRound(number, Purpose.TRAIN, ())
        assert announced(closed).announcement.model == model(number)
    assert announced(closed).announcement.purpose is Purpose.EVALUATE
    drive(EvaluationReported("a", 3, 5))
    assert drive(EvaluationReported("b", 3, 5)) == [
        CloseRound(3, Purpose.EVALUATE, ()),
        Finish(),
    ]
    assert drive.engine.state is EngineState.FINISHED


def test_without_evaluation_the_last_round_ends_it() -> None:
    drive = Driver(rounds=1, evaluate=False)
    drive.appear("a", "b")
    drive.deliver("a", "b")
    assert drive(AggregationDone(model(1)))[-1] == Finish()


def test_a_device_that_dies_is_noted_and_the_round_goes_on_after_its_deadline() -> None:
    drive = Driver()
    drive.appear("a", "b")
    (note,) = drive(DeviceLost("b"))
    assert isinstance(note, Note)
    assert "b went away" in note.text
    assert drive.deliver("a")[-1] == SendCommand("a", Accepted(1, 5))
    assert drive.after(9.9) == []
    note, aggregate = drive.after(0.1)
    assert isinstance(note, Note)
    assert "without b" in note.text
    assert aggregate == Aggregate(1, ("a",))
    closed = drive(AggregationDone(model(1)))
    assert closed[0] == CloseRound(1, Purpose.TRAIN, ("b",))
    assert announced(closed).announcement.selected == ("a",)


def test_below_the_quorum_the_round_is_opened_again_and_keeps_what_it_has() -> None:
    drive = Driver(quorum=1.0)
    drive.appear("a", "b")
    drive.deliver("a")
    again = announced(drive.after(10.0)).announcement
    assert (again.round, again.epoch) == (1, 6)
    assert again.selected == ("b",)
    assert drive.deliver("b")[-1] == Aggregate(1, ("a", "b"))


def test_updates_that_are_gone_when_they_are_wanted_are_asked_for_again_and_the_others_stay() -> (
    None
):
    drive = Driver()
    drive.appear("a", "b", "c")
    drive.after(0.0)
    members = drive.engine.present
    assert drive.deliver("a", "b")[-1] == Aggregate(1, ("a", "b"))
    assert members
    note, *opened = drive(UpdatesLost(1, ("b",)))
    assert isinstance(note, Note)
    assert "asked for again: b" in note.text
    again = announced(opened).announcement
    assert (again.round, again.epoch) == (1, 6)
    assert "a" not in again.selected
    assert "b" in again.selected
    drive(DeviceFailed("c", 1, 6, "no space"))
    assert drive.deliver("b")[-1] == Aggregate(1, ("a", "b"))


def test_updates_are_lost_of_the_round_that_is_made_and_of_no_other() -> None:
    drive = Driver()
    drive.appear("a", "b")
    assert drive(UpdatesLost(1, ("a",))) == []
    drive.deliver("a", "b")
    assert drive(UpdatesLost(2, ("a",))) == []
    closed = drive(AggregationDone(model(1)))
    assert closed[0] == CloseRound(1, Purpose.TRAIN, ())
    assert drive(UpdatesLost(1, ("a",))) == []


def test_an_offer_for_an_earlier_epoch_of_the_open_round_is_not_refused_but_awaited_anew() -> None:
    drive = Driver(quorum=1.0)
    drive.appear("a", "b")
    drive.after(10.0)
    assert drive(UpdateOffered("a", 1, 5, model(0).digest, TRANSFER)) == []
    assert drive.deliver("a")[-1] == SendCommand("a", Accepted(1, 6))


def test_uploads_are_granted_in_waves() -> None:
    devices = tuple("abcde")
    drive = Driver(start_devices=5, uploads_at_once=2)
    drive.appear(*devices)
    granted = only(drive.offer(*devices), ExpectUpload)
    assert [g.device for g in granted if isinstance(g, ExpectUpload)] == ["a", "b"]
    assert drive(UpdateStored("b", 1)) == [
        SendCommand("b", Accepted(1, 5)),
        ExpectUpload("c", 1, TRANSFER),
        SendCommand("c", Grant(1, 5)),
    ]


def test_a_grant_that_is_not_used_goes_to_the_next() -> None:
    drive = Driver(uploads_at_once=1, grant_timeout_s=3.0, deadline_s=100.0)
    drive.appear("a", "b")
    drive.offer("a", "b")
    assert drive.engine.wake_at_s() == 103.0
    actions = drive.after(3.0)
    assert [a.device for a in only(actions, ExpectUpload) if isinstance(a, ExpectUpload)] == ["b"]
    assert drive(UpdateStored("a", 1)) == []
    assert drive(UpdateStored("b", 1))[-1] == SendCommand("a", Grant(1, 5))


def test_a_refused_update_is_told_to_its_device_and_settles_it() -> None:
    drive = Driver(quorum=0.5)
    drive.appear("a", "b")
    drive.offer("a")
    told, _ = drive(UpdateRefused("a", 1, RejectReason.NOT_FINITE, "NaN"))
    assert told == SendCommand("a", Rejected(1, 5, RejectReason.NOT_FINITE, "NaN"))
    (verdict,) = drive.offer("a")
    assert isinstance(verdict, SendCommand)
    assert isinstance(verdict.command, Rejected)
    assert verdict.command.reason is RejectReason.DUPLICATE
    assert drive.deliver("b")[-1] == Aggregate(1, ("b",))


@pytest.mark.parametrize(
    ("device", "round_number", "base", "reason"),
    [
        ("a", 1, "f" * 64, RejectReason.WRONG_BASE),
        ("a", 9, None, RejectReason.LATE),
        ("a", 0, None, RejectReason.LATE),
    ],
)
def test_an_offer_that_does_not_fit_is_refused_with_its_reason(
    device: str, round_number: int, base: str | None, reason: RejectReason
) -> None:
    drive = Driver()
    drive.appear("a", "b")
    (verdict,) = drive(UpdateOffered(device, round_number, 5, base or model(0).digest, TRANSFER))
    assert isinstance(verdict, SendCommand)
    assert isinstance(verdict.command, Rejected)
    assert verdict.command.reason is reason


def test_a_device_that_was_not_drawn_is_told_so_and_a_made_up_name_gets_no_answer() -> None:
    drive = Driver(participants=1)
    (drawn,) = announced(drive.appear("a", "b")).announcement.selected
    (other,) = {"a", "b"} - {drawn}
    (verdict,) = drive.offer(other)
    assert isinstance(verdict, SendCommand)
    assert isinstance(verdict.command, Rejected)
    assert verdict.command.reason is RejectReason.NOT_SELECTED
    assert drive.offer("stranger") == []
    assert drive(UpdateOffered("stranger", 9, 9, "0" * 64, TRANSFER)) == []


def test_a_device_that_misses_two_deadlines_is_not_counted_on_until_it_is_heard() -> None:
    drive = Driver(quorum=1.0)
    drive.appear("a", "ghost")
    drive.deliver("a")
    assert announced(drive.after(10.0)).announcement.selected == ("ghost",)
    aggregate = drive.after(10.0)[-1]
    assert aggregate == Aggregate(1, ("a",))
    second = announced(drive(AggregationDone(model(1)))).announcement
    assert second.selected == ("a",)
    assert drive.engine.is_silent("ghost")
    drive(DeviceHeard("ghost"))
    drive.deliver("a", round_number=2)
    third = announced(drive(AggregationDone(model(2)))).announcement
    assert third.selected == ("a", "ghost")


def test_a_slow_upload_keeps_its_grant_while_chunks_come() -> None:
    drive = Driver(grant_timeout_s=3.0, deadline_s=100.0)
    drive.appear("a", "b")
    drive.offer("a")
    for _ in range(10):
        drive(UploadProgressed("a", 1))
        assert only(drive.after(2.9), ExpectUpload) == []
    assert drive(UpdateStored("a", 1)) == [SendCommand("a", Accepted(1, 5))]


def test_a_connection_that_comes_and_goes_is_noted_once_a_round() -> None:
    drive = Driver()
    drive.appear("a", "b")
    notes = [drive(DeviceLost("b"), DeviceAppeared("b")) for _ in range(5)]
    assert [len(n) for n in notes] == [1, 0, 0, 0, 0]
    assert drive(DeviceLost("stranger")) == []


def test_a_device_that_waits_is_not_selected_until_it_appears_again() -> None:
    drive = Driver(rounds=5, start_devices=3)
    drive.appear("a", "b", "c")
    drive.deliver("a", "b")
    (note, *_) = drive(DeviceWaits("c", "power: not on mains"))
    assert isinstance(note, Note)
    assert note.text == "round 1: c waits (power: not on mains) while pending"
    assert drive.deliver("c")[-1] == Aggregate(1, ("a", "b", "c"))  # and it still delivers
    closed = drive(AggregationDone(model(1)))
    assert announced(closed).announcement.selected == ("a", "b")
    drive.deliver("a", "b", round_number=2)
    drive.appear("c")
    assert announced(drive(AggregationDone(model(2)))).announcement.selected == ("a", "b", "c")


def test_a_round_waits_for_devices_that_may_train() -> None:
    drive = Driver(start_timeout_s=1.0)
    drive(DeviceWaits("a", "hot"), DeviceWaits("b", "hot"))
    assert drive.after(5) == []
    assert (drive.engine.is_waiting("a"), drive.engine.is_present("a")) == (True, False)
    assert announced(drive.appear("a")).announcement.selected == ("a",)
    drive(DeviceLost("b"))
    assert not drive.engine.is_waiting("b")


def test_a_device_that_waits_is_none_that_keeps_silent() -> None:
    drive = Driver(quorum=0.5, rounds=9, max_devices=2)
    drive.appear("a", "b")
    drive(DeviceWaits("b", "hot"), DeviceAppeared("c"))
    assert not drive.engine.is_present("c")  # there is room for two
    for number in (1, 2, 3):
        drive.deliver("a", round_number=number)
        drive.after(10)
        drive(AggregationDone(model(number)))
    assert not drive.engine.is_silent("b")
    assert drive.engine.is_waiting("b")


def test_after_a_restart_the_round_waits_for_its_members_and_keeps_its_quorum() -> None:
    start = StartingPoint(model(3), epoch=9, completed=3, accepted=("a",), owing=("b", "c"))
    drive = Driver(start, rounds=5, start_devices=1)
    again = announced(drive(Tick())).announcement
    assert (again.round, again.selected) == (4, ("b", "c"))
    assert only(drive.appear("b", "c"), Aggregate) == []
    drive.deliver("b", round_number=4)
    assert drive.deliver("c", round_number=4)[-1] == Aggregate(4, ("a", "b", "c"))


def test_a_restart_with_fewer_rounds_turns_the_open_round_into_the_evaluation() -> None:
    start = StartingPoint(model(2), epoch=9, completed=2, accepted=("a",), owing=("b",))
    drive = Driver(start, rounds=2, start_devices=1)
    announcement = announced(drive.appear("b")).announcement
    assert announcement.purpose is Purpose.EVALUATE
    assert announcement.selected == ("b",)


def test_offering_an_accepted_update_again_is_acknowledged_again() -> None:
    drive = Driver()
    drive.appear("a", "b")
    drive.deliver("a")
    assert drive.offer("a") == [SendCommand("a", Accepted(1, 5))]


def test_a_failed_device_is_not_waited_for() -> None:
    drive = Driver()
    drive.appear("a", "b")
    drive.deliver("a")
    note, aggregate = drive(DeviceFailed("b", 1, 5, "no space"))
    assert isinstance(note, Note)
    assert "no space" in note.text
    assert aggregate == Aggregate(1, ("a",))


def test_when_everybody_fails_the_engine_waits_for_the_deadline_instead_of_spinning() -> None:
    drive = Driver()
    drive.appear("a", "b")
    drive(DeviceFailed("a", 1, 5, "x"), DeviceFailed("b", 1, 5, "x"))
    assert drive.engine.state is EngineState.COLLECTING
    assert announced(drive.after(10.0)).announcement.epoch == 6


def test_pause_lets_the_round_end_and_opens_no_other() -> None:
    drive = Driver()
    drive.appear("a", "b")
    drive(ControlRequested(DesiredState.PAUSE))
    drive.deliver("a", "b")
    assert only(drive(AggregationDone(model(1))), OpenRound) == []
    assert announced(drive(ControlRequested(DesiredState.RUN))).announcement.round == 2


def test_paused_neither_the_closing_evaluation_nor_the_end_comes() -> None:
    drive = Driver(rounds=1)
    drive.appear("a", "b")
    drive(ControlRequested(DesiredState.PAUSE))
    drive.deliver("a", "b")
    closed = drive(AggregationDone(model(1)))
    assert only(closed, OpenRound) == only(closed, Finish) == []
    assert drive.after(40 * 86_400.0) == []
    resumed = announced(drive(ControlRequested(DesiredState.RUN)))
    assert resumed.announcement.purpose is Purpose.EVALUATE


def test_a_start_timeout_that_has_passed_asks_for_no_other_tick() -> None:
    drive = Driver(start_timeout_s=30.0)
    assert drive.engine.wake_at_s() == 130.0
    drive.after(29.0)
    assert drive.engine.wake_at_s() == 130.0
    drive.after(1.0)
    assert drive.engine.wake_at_s() is None
    assert announced(drive.appear("a")).announcement.selected == ("a",)


def test_stop_finishes_at_once_and_late_offers_are_answered() -> None:
    drive = Driver()
    drive.appear("a", "b")
    assert drive(ControlRequested(DesiredState.STOP)) == [Finish()]
    (verdict,) = drive.offer("a")
    assert isinstance(verdict, SendCommand)
    assert drive.appear("c") == []


def test_selection_is_seeded_and_spreads_over_the_devices() -> None:
    def chosen(seed: int) -> list[tuple[str, ...]]:
        drive = Driver(rounds=20, participants=3, start_devices=10, seed=seed)
        actions = drive.appear(*(f"d{n}" for n in range(10)))
        rounds = []
        for number in range(1, 20):
            selected = announced(actions).announcement.selected
            rounds.append(selected)
            drive.deliver(*selected, round_number=number)
            actions = drive(AggregationDone(model(number)))
        return rounds

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)
    assert all(len(set(selected)) == 3 for selected in chosen(1))
    assert len({device for selected in chosen(1) for device in selected}) == 10


def test_made_up_devices_are_bounded() -> None:
    drive = Driver(max_devices=3, start_devices=10)
    drive.appear(*(f"d{n}" for n in range(100)))
    assert drive.engine.present == {"d0", "d1", "d2"}


def test_after_a_restart_accepted_updates_count_although_their_devices_are_away() -> None:
    start = StartingPoint(model(3), epoch=9, completed=3, accepted=("a", "b"))
    drive = Driver(start, rounds=5, start_devices=1, quorum=1.0)
    actions = drive(Tick())
    assert announced(actions).announcement.round == 4
    assert announced(actions).announcement.selected == ()
    assert actions[-1] == Aggregate(4, ("a", "b"))


def test_after_a_restart_behind_the_last_round_the_engine_finishes() -> None:
    drive = Driver(StartingPoint(model(2), epoch=9, completed=3), rounds=2)
    assert drive(Tick()) == [Finish()]


@pytest.mark.parametrize(
    "policy",
    [
        {"rounds": 0},
        {"quorum": 0.0},
        {"quorum": 1.1},
        {"deadline_s": 0.0},
        {"deadline_s": float("nan")},
        {"min_devices": 0},
        {"uploads_at_once": 0},
        {"participants": -1},
    ],
)
def test_a_policy_that_cannot_be_run_is_refused_by_key(policy: dict[str, float]) -> None:
    (key,) = policy
    with pytest.raises(ConfigurationError, match=key):
        RoundPolicy(**policy)  # type: ignore[arg-type]
