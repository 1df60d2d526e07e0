"""Operators of a real coordinator on an in-memory broker, and its pauses; all played by hand."""

import logging
import time
from collections.abc import Iterator

import pytest
from coordinator_lab import PATIENCE_S, TOPICS, Lab, Life, begin, finish, wait_for
from identities import COORDINATOR, key_of, signed

from pfedfrz_coordinator.registry import Registry
from pfedfrz_protocol import (
    AcceptDevice,
    Control,
    CoordinatorStatus,
    DesiredState,
    Membership,
    OperatorAction,
    OperatorAnswer,
    OperatorRequest,
    Pause,
    PermitJoin,
    Presence,
    Purpose,
    QuarantineDevice,
    ReadmitDevice,
    Resume,
    RevokeDevice,
    RoundAnnouncement,
    open_message,
    open_signed,
)
from pfedfrz_transport import MemoryLink, Message


def desired(lab: Lab) -> DesiredState:
    return open_message(lab.broker.retained()[TOPICS.control], Control).desired


def at_work(lab: Lab, life: Life) -> Life:
    """Return once it has said that it is there, and what is desired."""

    def has_said() -> bool:
        retained = lab.broker.retained()
        if not {TOPICS.coordinator_status, TOPICS.control} <= retained.keys():
            return False
        status = open_message(retained[TOPICS.coordinator_status], CoordinatorStatus)
        control = open_message(retained[TOPICS.control], Control)
        return status.presence is Presence.ONLINE and control.epoch == status.epoch

    wait_for(has_said)
    return life


def members(lab: Lab) -> Membership:
    topic = TOPICS.members
    key = key_of(COORDINATOR).public
    return open_signed(lab.broker.retained()[topic], Membership, topic, key, "not ours")


class Operator:
    """The operator anna, by hand."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.serial = lab, 0
        self.path = lab.disk.parent / "operators.toml"
        self.path.write_text(f'[operators]\nanna = "{key_of("anna").public}"\n')
        self.link = MemoryLink(lab.broker, "anna")
        self.link.subscribe(TOPICS.operator("anna", "answer"))
        self.link.start()

    def ask(self, action: OperatorAction) -> OperatorAnswer:
        """Ask in the coordinator's present epoch; its answer."""
        retained = self.lab.broker.retained()
        status = open_message(retained[TOPICS.coordinator_status], CoordinatorStatus)
        topic = TOPICS.operator("anna", "request")
        self.serial += 1
        request = OperatorRequest(status.epoch, self.serial, action)
        self.link.publish(topic, signed(request, topic, "anna"))
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            event = self.link.poll(0.05)
            if isinstance(event, Message):
                answer = open_message(event.payload, OperatorAnswer)
                assert (answer.epoch, answer.serial) == (status.epoch, self.serial)
                return answer
        pytest.fail("no answer came")


@pytest.fixture
def operator(lab: Lab) -> Iterator[Operator]:
    made = Operator(lab)
    yield made
    made.link.close(timeout_s=0.1)


def test_an_operator_pauses_until_an_operator_resumes_also_over_a_restart(
    lab: Lab, operator: Operator
) -> None:
    life, a, b, first = begin(lab, rounds=2, operators=operator.path)
    assert operator.ask(Pause()).done
    assert desired(lab) is DesiredState.PAUSE
    for device in (a, b):  # the open round goes on
        device.deliver(first, lab.payload(device, first, 1.0))
    wait_for(lambda: TOPICS.metrics in lab.broker.retained())
    life.end()
    at_work(lab, lab.coordinator(rounds=2, operators=operator.path))
    assert desired(lab) is DesiredState.PAUSE
    assert not [m for m in a.quiet() if isinstance(m, RoundAnnouncement)]
    assert operator.ask(Resume()).done
    assert desired(lab) is DesiredState.RUN
    assert a.expect(RoundAnnouncement).round == 2


def test_a_round_that_was_open_at_a_restart_waits_for_the_end_of_the_pause(
    lab: Lab, operator: Operator
) -> None:
    life, a, b, first = begin(lab, operators=operator.path)
    a.deliver(first, lab.payload(a, first, 1.0))
    assert operator.ask(Pause()).done
    life.end()
    again = at_work(lab, lab.coordinator(operators=operator.path))
    assert not [m for m in b.quiet() if isinstance(m, RoundAnnouncement)]
    assert operator.ask(Resume()).done
    opened = b.expect(RoundAnnouncement)
    assert (opened.round, opened.selected) == (1, ("b",))
    b.deliver(opened, lab.payload(b, opened, 1.0))
    assert finish(lab, again).accepted == 2


def test_a_pause_keeps_the_closing_evaluation_back_and_lasts_however_long(
    lab: Lab, operator: Operator
) -> None:
    life, a, b, first = begin(lab, rounds=1, evaluate=True, operators=operator.path)
    assert operator.ask(Pause()).done
    for device in (a, b):
        device.deliver(first, lab.payload(device, first, 1.0))
    wait_for(lambda: TOPICS.metrics in lab.broker.retained())
    life.after(40 * 86_400)
    assert not [m for m in a.quiet() if isinstance(m, RoundAnnouncement)]
    assert life.alive
    assert operator.ask(Resume()).done
    assert a.expect(RoundAnnouncement).purpose is Purpose.EVALUATE


def test_another_process_pauses_and_it_follows_at_its_next_look(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    life = at_work(lab, lab.coordinator(rounds=2))
    registry = Registry(lab.disk)
    registry.pause(True)
    registry.close()
    with caplog.at_level(logging.INFO):
        life.after(1.0)
        wait_for(lambda: desired(lab) is DesiredState.PAUSE)
    assert "paused: no round is opened; to go on: pfedfrz resume" in caplog.text


def test_a_device_that_an_operator_quarantines_is_out_at_once_and_back_when_readmitted(
    lab: Lab, operator: Operator
) -> None:
    life, a, _, first = begin(lab, rounds=3, operators=operator.path)
    assert operator.ask(QuarantineDevice("b", "odd")).done
    a.deliver(first, lab.payload(a, first, 1.0))  # nobody waits for b
    second = a.expect(RoundAnnouncement)
    assert (second.round, second.selected) == (2, ("a",))
    assert operator.ask(ReadmitDevice("b")).done
    a.deliver(second, lab.payload(a, second, 1.0))
    third = a.expect(RoundAnnouncement)
    assert (third.round, third.selected) == (3, ("a", "b"))
    assert "operator anna: quarantine b: odd" in lab.notes()
    life.end()


def test_members_are_retained_and_told_anew_when_they_change_once_a_second(
    lab: Lab, operator: Operator
) -> None:
    life = at_work(lab, lab.coordinator(operators=operator.path))
    wait_for(lambda: TOPICS.members in lab.broker.retained())
    assert members(lab) == Membership(0, (), {}, (), True)
    assert operator.ask(PermitJoin(0.0)).done
    lab.device("a")
    life.after(1.0)
    wait_for(lambda: members(lab) == Membership(0, ("a",), {}, (), False))
    assert operator.ask(AcceptDevice("a")).done
    assert operator.ask(QuarantineDevice("a", "odd")).done
    assert members(lab) == Membership(0, ("a",), {}, (), False)  # not yet: no second has passed
    life.after(1.0)
    why = {"a": "by the operator anna: odd"}
    wait_for(lambda: members(lab) == Membership(0, (), why, (), False))
    assert operator.ask(ReadmitDevice("a")).done
    assert operator.ask(RevokeDevice("a")).done
    life.after(1.0)
    wait_for(lambda: members(lab) == Membership(0, (), {}, ("a",), False))


def test_without_a_list_of_operators_nobody_is_listened_to(lab: Lab, operator: Operator) -> None:
    life, _, _, _ = begin(lab, rounds=2)
    topic = TOPICS.operator("anna", "request")
    life.service._on_message(topic, b"{}")
    assert not life.service.ignored
