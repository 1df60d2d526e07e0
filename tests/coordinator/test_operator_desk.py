"""The desk with a real registry, journal and broker in memory; operators speak by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import tiny_bundle
from identities import COORDINATOR, identity_of, key_of, signed

from pfedfrz_coordinator.admission import Admission, EnrolmentPolicy, QuarantinePolicy
from pfedfrz_coordinator.configuration import CoordinatorSettings
from pfedfrz_coordinator.ignored_messages import IgnoredMessages
from pfedfrz_coordinator.journal import Journal
from pfedfrz_coordinator.key_lists import FollowedKeys, read_operators
from pfedfrz_coordinator.operator_desk import OperatorDesk
from pfedfrz_coordinator.publication import Publication
from pfedfrz_coordinator.quotas import QuotaPolicy
from pfedfrz_coordinator.registry import Registry, Standing
from pfedfrz_protocol import (
    AcceptDevice,
    ConfigurationError,
    OperatorAction,
    OperatorAnswer,
    OperatorRequest,
    OperatorTopic,
    Pause,
    PermitJoin,
    QuarantineDevice,
    ReadmitDevice,
    RejectReason,
    Resume,
    RevokeDevice,
    Topics,
    open_signed,
)
from pfedfrz_transport import MemoryBroker, MemoryLink, Message

TOPICS = Topics("lab")
EPOCH = 217


class Desk:
    """A desk of the operators anna and ben, and what they hear."""

    def __init__(self, place: Path) -> None:
        self.now_s = 0.0
        self.followed = 0
        self.operators = place / "operators.toml"
        self.list_operators(anna="anna", ben="ben")
        self.accept_list = place / "devices.toml"
        self.accept_list.write_text(f'[devices]\nlisted = "{key_of("listed").public}"\n')
        self.registry = Registry(place)
        self.journal = Journal(place / "journal.sqlite")
        self.ignored = IgnoredMessages()
        broker = MemoryBroker()
        self.link = MemoryLink(broker, "coordinator")
        self.ear = MemoryLink(broker, "ear")
        self.ear.subscribe(TOPICS.every_operator("answer"))
        self.link.start()
        self.ear.start()
        bundle = tiny_bundle.make_bundle()
        settings = CoordinatorSettings("lab", place, place)
        self.publication = Publication(settings, bundle, self.link, identity_of(COORDINATOR))
        self.desk = self.life(EPOCH)

    def life(self, epoch: int) -> OperatorDesk:
        self.admission = Admission(
            self.registry,
            "lab",
            lambda: self.now_s,
            enrolment=EnrolmentPolicy(self.accept_list, permit_join_s=0),
            quarantine=QuarantinePolicy(),
            quotas=QuotaPolicy(),
        )
        self.desk = OperatorDesk(
            FollowedKeys(self.operators, read_operators, "list of operators"),
            epoch,
            self.registry,
            self.admission,
            self.journal,
            self.publication,
            self.ignored,
            self.follow,
            lambda: self.now_s,
        )
        return self.desk

    def follow(self) -> None:
        self.followed += 1
        self.admission.look_for_changes()

    def elsewhere(self, change: Callable[[Registry], object]) -> None:
        """What a person does in another process, and is followed."""
        registry = Registry(self.accept_list.parent)
        change(registry)
        registry.close()
        self.admission.look_for_changes()

    def list_operators(self, **keys: str) -> None:
        lines = [f'{name} = "{key_of(key).public}"\n' for name, key in keys.items()]
        self.operators.write_text("[operators]\n" + "".join(lines))

    def say(self, operator: str, payload: bytes) -> OperatorAnswer | None:
        topic = TOPICS.operator(operator, "request")
        self.desk.on_message(OperatorTopic(operator, "request"), topic, payload)
        heard = None
        while (event := self.ear.poll(0)) is not None:
            if isinstance(event, Message):
                assert heard is None, "two answers"
                assert event.topic == TOPICS.operator(operator, "answer")
                key = key_of(COORDINATOR).public
                heard = open_signed(event.payload, OperatorAnswer, event.topic, key, "not ours")
        return heard

    def ask(
        self,
        action: OperatorAction,
        serial: int,
        *,
        operator: str = "anna",
        epoch: int = EPOCH,
        by: str | None = None,
    ) -> OperatorAnswer | None:
        return self.say(operator, self.request(action, serial, operator, epoch, by))

    def request(
        self,
        action: OperatorAction,
        serial: int,
        operator: str = "anna",
        epoch: int = EPOCH,
        by: str | None = None,
    ) -> bytes:
        topic = TOPICS.operator(operator, "request")
        return signed(OperatorRequest(epoch, serial, action), topic, by or operator)

    def standing(self, device: str) -> Standing | None:
        row = self.registry.find(device)
        return row.standing if row else None

    def close(self) -> None:
        self.journal.close()
        self.registry.close()
        self.link.close(timeout_s=0)
        self.ear.close(timeout_s=0)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.elsewhere(lambda r: r.enrol("pi", key_of("pi").public))
    made.elsewhere(lambda r: r.let_wait("new", key_of("new").public))
    yield made
    made.close()


def test_every_request_is_done_and_said_written_down_and_followed(desk: Desk) -> None:
    steps: list[tuple[OperatorAction, str, Standing | None, str]] = [
        (Pause(), "pi", Standing.ENROLLED, "pause"),
        (Resume(), "pi", Standing.ENROLLED, "resume"),
        (AcceptDevice("new"), "new", Standing.ENROLLED, "accept new"),
        (QuarantineDevice("pi", "odd"), "pi", Standing.QUARANTINED, "quarantine pi: odd"),
        (ReadmitDevice("pi"), "pi", Standing.ENROLLED, "readmit pi"),
        (RevokeDevice("pi"), "pi", Standing.REVOKED, "revoke pi"),
        (
            AcceptDevice("pi", key_of("pi again").public),
            "pi",
            Standing.ENROLLED,
            f"accept pi with the key {key_of('pi again').public[:12]}...",
        ),
    ]
    for serial, (action, device, standing, words) in enumerate(steps):
        answer = desk.ask(action, serial)
        assert answer is not None, action
        assert (answer.epoch, answer.serial, answer.done) == (EPOCH, serial, True), answer
        assert desk.standing(device) is standing
        assert desk.admission.is_enrolled(device) is (standing is Standing.ENROLLED)
        assert desk.registry.is_paused() is isinstance(action, Pause)
        assert desk.journal.notes()[-1] == f"operator anna: {words}"
        assert desk.followed == serial + 1


def test_a_window_is_opened_and_closed(desk: Desk) -> None:
    assert desk.registry.permit_join_s() == 0
    opened = desk.ask(PermitJoin(60.0), 0)
    assert opened is not None
    assert opened.done
    assert 50 < (desk.registry.permit_join_s() or 0) <= 60
    closed = desk.ask(PermitJoin(0.0), 1)
    assert closed is not None
    assert (closed.done, desk.registry.permit_join_s()) == (True, 0)


def test_the_reason_of_a_quarantine_says_whose_it_is(desk: Desk) -> None:
    desk.ask(QuarantineDevice("pi", "a\nb"), 0)
    row = desk.registry.find("pi")
    assert row is not None
    assert row.reason == "by the operator anna: a\\nb"


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (ReadmitDevice("pi"), "pi is enrolled, not quarantined"),
        (RevokeDevice("nobody"), "no device 'nobody' is known"),
        (QuarantineDevice("nobody"), "no device 'nobody' is known"),
        (QuarantineDevice("new"), "new is waiting, not enrolled"),
        (
            AcceptDevice("listed", key_of("other").public),
            "the accept list (devices.toml) has another key for listed",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_line_and_changes_nothing(
    desk: Desk, action: OperatorAction, said: str
) -> None:
    before, followed = desk.registry.rows(), desk.followed
    answer = desk.ask(action, 0)
    assert answer is not None
    assert not answer.done
    assert said in answer.detail
    assert (desk.registry.rows(), desk.followed) == (before, followed)
    assert "not done: " in desk.journal.notes()[-1]


@pytest.mark.parametrize("action", [QuarantineDevice("listed"), RevokeDevice("listed")])
def test_whom_the_accept_list_would_let_in_again_is_not_kept_out_in_vain(
    desk: Desk, action: OperatorAction
) -> None:
    desk.elsewhere(lambda r: r.enrol("listed", key_of("by hand").public))
    answer = desk.ask(action, 0)
    assert answer is not None
    assert not answer.done
    assert "would let it in with that one: change it there" in answer.detail
    assert desk.standing("listed") is Standing.ENROLLED
    desk.accept_list.write_text(f'[devices]\nlisted = "{key_of("by hand").public}"\n# new\n')
    desk.follow()
    done = desk.ask(action, 1)
    assert done is not None
    assert done.done


def test_a_request_that_comes_twice_is_done_once_and_answered_twice(desk: Desk) -> None:
    first, second = desk.request(QuarantineDevice("pi"), 3), desk.request(ReadmitDevice("pi"), 4)
    done = desk.say("anna", first)
    assert done is not None
    assert done.done
    assert desk.say("anna", first) == done
    desk.say("anna", second)
    notes = desk.journal.notes()
    assert desk.say("anna", first) == done
    assert desk.standing("pi") is Standing.ENROLLED
    assert desk.journal.notes() == notes


def test_an_old_serial_is_told_that_it_is_old_and_does_nothing(desk: Desk) -> None:
    desk.ask(Resume(), 7)
    for serial in (7, 6, 0):
        answer = desk.ask(Pause(), serial)
        assert answer is not None
        assert not answer.done
        assert f"serial {serial} is not above 7" in answer.detail
    assert not desk.registry.is_paused()
    other = desk.ask(Pause(), 0, operator="ben")
    assert other is not None
    assert other.done


def test_answers_are_kept_for_the_last_requests_only(desk: Desk) -> None:
    old = desk.request(Pause(), 0)
    desk.say("anna", old)
    for serial in range(1, 65):
        desk.now_s += 1.0
        desk.ask(Resume(), serial)
    answer = desk.say("anna", old)
    assert answer is not None
    assert not answer.done
    assert not desk.registry.is_paused()


def test_a_request_of_before_a_restart_is_told_so_and_does_nothing(desk: Desk) -> None:
    kept = desk.request(Pause(), 5)
    desk.say("anna", kept)
    desk.registry.pause(False)
    desk.life(EPOCH + 1)
    answer = desk.say("anna", kept)
    assert answer == OperatorAnswer(
        EPOCH, 5, False, "asked before the coordinator's restart; ask again"
    )
    assert not desk.registry.is_paused()
    again = desk.ask(Pause(), 0, epoch=EPOCH + 1)
    assert again is not None
    assert again.done


def test_what_anybody_could_have_written_is_counted_and_not_answered(desk: Desk) -> None:
    topic = TOPICS.operator("anna", "request")
    body = msgspec.json.encode(OperatorRequest(EPOCH, 0, Pause()))
    cases = [
        ("anna", body, RejectReason.NOT_SIGNED),
        ("anna", desk.request(Pause(), 0, by="ben"), RejectReason.WRONG_SIGNATURE),
        ("anna", desk.request(Pause(), 0, "ben", by="anna"), RejectReason.WRONG_SIGNATURE),
        ("carl", desk.request(Pause(), 0, "carl"), RejectReason.NOT_ENROLLED),
        ("anna", signed(Pause(), topic, "anna"), RejectReason.MALFORMED),
        ("anna", b" " * 8193, RejectReason.TOO_LARGE),
    ]
    for operator, payload, reason in cases:
        assert desk.say(operator, payload) is None
        assert desk.ignored.drain() == {reason: 1}
    assert not desk.registry.is_paused()
    assert desk.journal.notes() == []


def test_a_flood_is_bounded_for_each_operator_and_for_all_strangers_together(desk: Desk) -> None:
    answered = sum(desk.ask(Resume(), serial) is not None for serial in range(80))
    assert answered == 50
    assert desk.ignored.drain() == {RejectReason.QUOTA_EXCEEDED: 30}
    for number in range(80):
        desk.say(f"stranger-{number}", b"{}")
    assert desk.ignored.drain() == {
        RejectReason.NOT_ENROLLED: 50,
        RejectReason.QUOTA_EXCEEDED: 30,
    }
    other = desk.ask(Resume(), 0, operator="ben")
    assert other is not None
    desk.now_s += 1.0
    assert sum(desk.ask(Resume(), 100 + n) is not None for n in range(10)) == 5


def test_the_list_is_followed_and_who_is_off_it_is_heard_no_more(desk: Desk) -> None:
    desk.ask(Resume(), 9)
    desk.list_operators(anna="anna's new key", carl="carl")
    desk.desk.look_for_changes()
    assert desk.ask(Pause(), 10) is None
    assert desk.ask(Pause(), 10, operator="ben") is None
    for operator, key in (("anna", "anna's new key"), ("carl", "carl")):
        answer = desk.ask(Resume(), 0, operator=operator, by=key)
        assert answer is not None
        assert answer.done


def test_a_list_that_is_damaged_later_stays_and_one_that_is_damaged_first_is_said(
    desk: Desk, tmp_path: Path
) -> None:
    desk.operators.write_text('[operators]\nanna = "no key"\n')
    desk.desk.look_for_changes()
    assert desk.ask(Resume(), 0) is not None
    with pytest.raises(ConfigurationError, match=r"operators\.toml"):
        desk.life(EPOCH + 1)
    desk.operators.unlink()
    with pytest.raises(ConfigurationError, match=r"operators\.toml: cannot be read"):
        desk.life(EPOCH + 1)


def test_its_own_answers_are_nothing_to_it(desk: Desk) -> None:
    topic = TOPICS.operator("anna", "answer")
    desk.desk.on_message(OperatorTopic("anna", "answer"), topic, b"{}")
    assert not desk.ignored.counts
