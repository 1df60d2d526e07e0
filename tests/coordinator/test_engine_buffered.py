"""Rounds that do not wait for everybody: over-selection, and a buffer of late updates (FedBuff)."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedfrz_coordinator.engine import RoundEngine, StartingPoint
from pfedfrz_coordinator.engine_exchange import (
    Action,
    Aggregate,
    AggregationDone,
    CloseRound,
    DeviceAppeared,
    DeviceHeard,
    DeviceWaits,
    Event,
    ExpectUpload,
    Finish,
    Note,
    OpenRound,
    SendCommand,
    Tick,
    UpdateOffered,
    UpdatesStored,
    UpdateStored,
)
from pfedfrz_coordinator.policy import RoundPolicy
from pfedfrz_protocol import (
    Accepted,
    ConfigurationError,
    Grant,
    ModelReference,
    Rejected,
    RejectReason,
    RoundAnnouncement,
    TransferReference,
)

TRANSFER = TransferReference(100, "c" * 64)


def model(version: int) -> ModelReference:
    return ModelReference(version, f"{version:064x}", TRANSFER)


class Driver:
    """An engine whose aggregation is done at once."""

    def __init__(self, start: StartingPoint | None = None, **policy: object) -> None:
        settings = {"rounds": 5, "start_devices": 1, "deadline_s": 10.0, "evaluate": False}
        self.policy = RoundPolicy(**{**settings, **policy})  # type: ignore[arg-type]
        point = start or StartingPoint(model(0), epoch=5)
        self.now = 0.0
        self.engine = RoundEngine(self.policy, "b" * 64, point, self.now)
        self.opened: list[RoundAnnouncement] = []
        self.aggregated: list[tuple[int, tuple[str, ...]]] = []

    def __call__(self, *events: Event) -> list[Action]:
        actions: list[Action] = []
        waiting = list(events)
        while waiting:
            for action in self.engine.handle(waiting.pop(0), self.now):
                actions.append(action)
                if isinstance(action, OpenRound):
                    self.opened.append(action.announcement)
                if isinstance(action, Aggregate):
                    self.aggregated.append((action.round, action.devices))
                    waiting.append(AggregationDone(model(action.round)))
        return actions

    def appear(self, devices: str) -> list[Action]:
        return self(*(DeviceAppeared(device) for device in devices))

    def offer(self, device: str, number: int) -> list[Action]:
        digest = model(number - 1).digest
        return self(UpdateOffered(device, number, self.engine.epoch, digest, TRANSFER))

    def deliver(self, device: str, number: int) -> list[Action]:
        return [*self.offer(device, number), *self(UpdateStored(device, number))]


def test_the_first_of_the_over_selected_close_the_round() -> None:
    drive = Driver(participants=4, overselect=0.5, seed=1)
    drive.appear("abcdefgh")
    drive.now += 100
    (first,) = drive(Tick()) and drive.opened[-1:]
    assert len(first.selected) == 6
    names = list(first.selected)
    for device in names[:3]:
        drive.deliver(device, first.round)
    assert drive.aggregated == []
    drive.offer(names[4], first.round)
    drive.deliver(names[3], first.round)
    assert drive.aggregated == [(first.round, tuple(sorted(names[:4])))]
    (late,) = drive.offer(names[5], first.round)
    assert isinstance(late, SendCommand)
    assert isinstance(late.command, Rejected)
    assert late.command.reason is RejectReason.LATE


def started(**policy: object) -> Driver:
    drive = Driver(start_devices=4, **policy)
    drive.appear("abcd")
    assert drive.opened[-1].selected == tuple("abcd")
    return drive


def test_a_full_buffer_makes_a_model_and_the_busy_deliver_into_the_next() -> None:
    drive = started(buffer=2, max_staleness=3)
    assert drive.opened[-1].stale_rounds == 3
    drive.deliver("a", 1)
    drive.deliver("b", 1)
    assert drive.aggregated == [(1, ("a", "b"))]
    assert drive.opened[-1].round == 2
    actions = drive.deliver("c", 1)
    assert ExpectUpload("c", 1, TRANSFER) in actions
    assert SendCommand("c", Grant(1, 5)) in actions
    assert SendCommand("c", Accepted(1, 5)) in actions
    drive.deliver("a", 2)
    assert drive.aggregated[-1] == (2, ("a", "c"))
    assert not [a for a in actions if isinstance(a, Note)]


def test_a_late_update_of_a_device_that_may_not_train_now_is_welcome() -> None:
    drive = started(buffer=2, max_staleness=3)
    drive(DeviceWaits("c", "power: not on mains"))
    drive.deliver("a", 1)
    drive.deliver("b", 1)
    assert drive.opened[-1].selected == ("a", "b", "d")
    assert SendCommand("c", Accepted(1, 5)) in drive.deliver("c", 1)


def test_what_became_durable_together_counts_together() -> None:
    drive = started(buffer=2)
    for device in "abc":
        drive.offer(device, 1)
    stored = tuple(UpdateStored(device, 1) for device in "abc")
    actions = drive(UpdatesStored(stored))
    assert drive.aggregated == [(1, ("a", "b", "c"))]
    assert [SendCommand(device, Accepted(1, 5)) for device in "abc"] == actions[:3]


def test_an_upload_that_a_closing_round_cut_short_goes_on_in_the_next() -> None:
    drive = started(buffer=2)
    drive.offer("d", 1)
    drive.deliver("a", 1)
    drive.deliver("b", 1)
    assert drive(UpdateStored("d", 1)) == []  # its grant went with the round
    assert SendCommand("d", Grant(1, 5)) in drive.offer("d", 1)
    assert drive.engine.awaits_upload("d", 1)
    assert SendCommand("d", Accepted(1, 5)) in drive(UpdateStored("d", 1))


def test_who_has_given_to_this_model_waits_for_the_next_with_a_second_update() -> None:
    drive = started(buffer=3)
    for device in "abc":
        drive.deliver(device, 1)
    drive.deliver("d", 1)
    assert drive.offer("d", 2) == []
    assert drive.offer("d", 1) == [SendCommand("d", Accepted(1, 5))]
    for device in "ab":
        drive.deliver(device, 2)
    assert drive.aggregated[-1] == (2, ("a", "b", "d"))
    assert SendCommand("d", Grant(2, 5)) in drive.offer("d", 2)


def test_what_is_too_late_is_refused() -> None:
    drive = started(buffer=1, max_staleness=1)
    drive.deliver("a", 1)
    drive.deliver("a", 2)
    assert drive.opened[-1].round == 3
    (answer,) = drive.offer("b", 1)
    assert isinstance(answer, SendCommand)
    assert isinstance(answer.command, Rejected)
    assert SendCommand("b", Grant(2, 5)) in drive.offer("b", 2)


def test_a_late_update_from_another_model_than_its_rounds_is_refused() -> None:
    drive = started(buffer=1)
    drive.deliver("a", 1)
    offer = UpdateOffered("b", 1, 5, model(7).digest, TRANSFER)
    (answer,) = drive(offer)
    assert isinstance(answer, SendCommand)
    assert isinstance(answer.command, Rejected)
    assert answer.command.reason is RejectReason.WRONG_BASE


def test_after_a_restart_late_updates_are_welcome_and_none_counts_twice() -> None:
    start = StartingPoint(
        model(2),
        9,
        2,
        ("a", "b"),
        ("c",),
        (("b", 1),),
        recent=((1, model(0).digest), (2, model(1).digest)),
    )
    drive = Driver(start, buffer=3, max_staleness=3)
    drive.appear("abcd")
    assert drive.opened[-1].round == 3
    assert drive.offer("b", 1) == [SendCommand("b", Accepted(1, 9))]
    assert drive.offer("b", 3) == []
    drive.deliver("c", 2)
    assert drive.aggregated == [(3, ("a", "b", "c"))]


def test_an_update_that_is_said_again_counts_for_no_later_model() -> None:
    drive = started(buffer=1, max_staleness=3)
    drive.deliver("a", 1)
    drive.deliver("b", 2)
    assert drive.offer("a", 1) == [SendCommand("a", Accepted(1, 5))]
    assert not drive.engine.awaits_upload("a", 1)
    start = StartingPoint(
        model(2), 9, 2, counted=(("a", 1),), recent=((1, model(0).digest), (2, model(1).digest))
    )
    again = Driver(start, buffer=2, max_staleness=3)
    again.appear("abcd")
    assert again.offer("a", 1) == [SendCommand("a", Accepted(1, 9))]
    assert SendCommand("a", Grant(3, 9)) in again.offer("a", 3)


def test_a_late_update_of_a_round_whose_model_is_gone_is_late_and_no_fault() -> None:
    drive = Driver(StartingPoint(model(5), 9, 5), rounds=9, buffer=2, max_staleness=3)
    drive.appear("abcd")
    assert [a for a in drive.offer("a", 4) if isinstance(a, SendCommand)] == []


def test_while_the_model_is_made_nothing_more_is_accepted() -> None:
    engine = RoundEngine(
        RoundPolicy(rounds=2, start_devices=2, participants=1, overselect=1.0),
        "b" * 64,
        StartingPoint(model(0), 5),
        0.0,
    )
    for device in "ab":
        engine.handle(DeviceAppeared(device), 0.0)
    for device in "ab":
        engine.handle(UpdateOffered(device, 1, 5, model(0).digest, TRANSFER), 0.0)
    first = engine.handle(UpdateStored("a", 1), 0.0)
    assert Aggregate(1, ("a",)) in first
    assert not engine.awaits_upload("b", 1)
    assert engine.handle(UpdateStored("b", 1), 0.0) == []


def test_fewer_devices_than_the_buffer_wants_still_make_a_model() -> None:
    drive = started(buffer=10)
    for device in "abcd":
        drive.deliver(device, 1)
    assert drive.aggregated == [(1, tuple("abcd"))]


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ({"overselect": 0.5}, "overselect without participants"),
        ({"overselect": 0.5, "participants": 2, "buffer": 2}, "exclude each other"),
        ({"buffer": -1}, "buffer = -1"),
        ({"max_staleness": 2000}, "max_staleness = 2000"),
        ({"staleness_exponent": float("nan")}, "staleness_exponent = nan"),
    ],
)
def test_impossible_policies_are_refused(policy: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        RoundPolicy(**policy)  # type: ignore[arg-type]


@given(seed=st.integers(0, 2**32), buffer=st.integers(1, 4), staleness=st.integers(0, 3))
def test_devices_of_any_speed_bring_it_to_the_end_and_nothing_counts_twice(
    seed: int, buffer: int, staleness: int
) -> None:
    """Devices that behave as the protocol asks, in a random order of events."""
    chance = random.Random(seed)
    drive = Driver(start_devices=5, rounds=6, buffer=buffer, max_staleness=staleness)
    busy: dict[str, int] = {}
    done: dict[str, set[int]] = {device: set() for device in "abcde"}
    counted: set[tuple[str, int]] = set()
    actions = drive.appear("abcde")
    for _ in range(2000):
        for action in actions:
            match action:
                case OpenRound(announcement):
                    for device in announcement.selected:
                        task = busy.get(device)
                        if task is None or announcement.round - task > announcement.stale_rounds:
                            busy[device] = announcement.round
                case SendCommand(device, Accepted(number, _)):
                    done[device].add(number)
                    newest = drive.opened[-1]
                    busy.pop(device, None)
                    if newest.round > number and device in newest.selected:
                        busy[device] = newest.round
                case SendCommand(device, Rejected()):
                    busy.pop(device, None)
                case Aggregate(number, devices):
                    assert len(devices) >= 1
                    assert len(set(devices)) == len(devices)
                case CloseRound() | Finish() | _:
                    pass
        if any(isinstance(action, Finish) for action in actions):
            break
        actions = []
        if busy and chance.random() < 0.9:
            device = chance.choice(sorted(busy))
            number = busy[device]
            actions += drive.offer(device, number)
            if drive.engine.awaits_upload(device, number) and chance.random() < 0.8:
                assert (device, number) not in counted
                counted.add((device, number))
                actions += drive(UpdateStored(device, number))
        else:
            drive.now += chance.choice([0.5, 3.0, 11.0])
            actions += drive(Tick())
            for device in "abcde":  # heartbeats
                if drive.engine.is_silent(device):
                    actions += drive(DeviceHeard(device))
    assert [number for number, _ in drive.aggregated] == [1, 2, 3, 4, 5, 6]
    assert {(device, number) for device in done for number in done[device]} >= counted
