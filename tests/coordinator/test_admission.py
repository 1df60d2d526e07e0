"""The gate: who is let in, who is heard, who is kept out."""

import logging
from pathlib import Path
from typing import Any

import pytest
from identities import key_of, signed

from pfedfrz_coordinator.admission import Admission, EnrolmentPolicy, QuarantinePolicy
from pfedfrz_coordinator.quotas import QuotaPolicy
from pfedfrz_coordinator.registry import Registry, Standing
from pfedfrz_protocol import (
    ConfigurationError,
    DeviceEvent,
    DeviceStatus,
    Heartbeat,
    Presence,
    ProtocolError,
    RejectReason,
    RoundFailed,
    SigningKey,
    Topics,
    make_succession,
    sign_message,
)

TOPICS = Topics("lab")
BEAT = Heartbeat("boot", "idle", 1, 2.0)


class Gate:
    """An admission with a registry, and devices that speak to it."""

    def __init__(self, directory: Path, **enrolment: Any) -> None:
        self.registry = Registry(directory)
        self.directory = directory
        self.now_s = 0.0
        self.admission = Admission(
            self.registry,
            "lab",
            lambda: self.now_s,
            enrolment=EnrolmentPolicy(**enrolment),
            quarantine=QuarantinePolicy(failures=3),
            quotas=QuotaPolicy(),
            max_devices=5,
        )

    def status(
        self,
        device: str,
        key: SigningKey | None = None,
        boot: str = "boot",
        successions: tuple[Any, ...] = (),
        signer: SigningKey | None = None,
    ) -> DeviceStatus:
        key = key or key_of(device)
        topic = TOPICS.device(device, "status")
        status = DeviceStatus(
            Presence.ONLINE, boot, "0" * 64, "onnxruntime", 5, key.public, successions
        )
        payload = sign_message(status, topic, signer or key)
        return self.admission.open_status(device, topic, payload)

    def refused(self, *args: Any, **kwargs: Any) -> RejectReason:
        with pytest.raises(ProtocolError) as caught:
            self.status(*args, **kwargs)
        return caught.value.reason

    def beat(self, device: str, signer: str | None = None, topic: str | None = None) -> Heartbeat:
        topic = topic or TOPICS.device(device, "heartbeat")
        payload = signed(BEAT, topic, signer or device)
        return self.admission.open(device, TOPICS.device(device, "heartbeat"), payload, Heartbeat)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def reason_of(call: Any) -> RejectReason:
    with pytest.raises(ProtocolError) as caught:
        call()
    return caught.value.reason


def test_in_the_window_a_status_enrols_and_then_only_that_key_is_heard(gate: Gate) -> None:
    assert reason_of(lambda: gate.beat("a")) is RejectReason.NOT_ENROLLED
    gate.status("a")
    assert gate.beat("a") == BEAT
    assert reason_of(lambda: gate.beat("a", signer="b")) is RejectReason.WRONG_SIGNATURE
    assert gate.refused("a", key_of("b")) is RejectReason.WRONG_SIGNATURE
    assert gate.beat("a") == BEAT


def test_a_message_for_one_topic_is_nothing_on_another(gate: Gate) -> None:
    gate.status("a")
    gate.status("b")
    other = TOPICS.device("b", "heartbeat")
    assert reason_of(lambda: gate.beat("a", topic=other)) is RejectReason.WRONG_SIGNATURE


def test_a_status_that_its_own_key_did_not_sign_is_nobodys(gate: Gate) -> None:
    assert gate.refused("a", signer=key_of("b")) is RejectReason.WRONG_SIGNATURE
    assert gate.registry.rows() == []


def test_a_message_without_a_signature_or_of_another_kind_is_refused(gate: Gate) -> None:
    gate.status("a")
    topic = TOPICS.device("a", "event")
    with pytest.raises(ProtocolError) as caught:
        gate.admission.open("a", topic, b'{"type":"failed"}', DeviceEvent)  # type: ignore[arg-type]
    assert caught.value.reason is RejectReason.NOT_SIGNED
    with pytest.raises(ProtocolError) as caught:
        gate.admission.open("a", topic, signed(BEAT, topic, "a"), RoundFailed)
    assert caught.value.reason is RejectReason.MALFORMED


def test_outside_the_window_a_device_waits_until_a_person_accepts_it(tmp_path: Path) -> None:
    gate = Gate(tmp_path, permit_join_s=0)
    assert gate.refused("a") is RejectReason.NOT_ENROLLED
    row = gate.registry.find("a")
    assert row is not None
    assert row.standing is Standing.WAITING
    person = Registry(tmp_path)
    person.accept("a")
    barred, again = gate.admission.look_for_changes()
    assert (barred, [name for name, _, _ in again]) == (frozenset(), ["a"])
    gate.admission.open_status(*again[0])
    assert gate.beat("a") == BEAT
    assert gate.admission.look_for_changes() == (frozenset(), [])


def test_strangers_write_to_the_disk_now_and_then_only(tmp_path: Path) -> None:
    gate = Gate(tmp_path, permit_join_s=0)
    for number in range(50):
        assert gate.refused("a", key_of(f"key {number}")) is RejectReason.NOT_ENROLLED
    row = gate.registry.find("a")
    assert row is not None
    assert row.key == key_of("key 0").public
    assert gate.refused("b", key_of("b")) is RejectReason.NOT_ENROLLED
    assert gate.registry.find("b") is None
    gate.now_s += 1
    gate.refused("b", key_of("b"))
    assert gate.registry.find("b") is not None


def test_whoever_asks_later_under_the_same_name_takes_no_place(tmp_path: Path) -> None:
    gate = Gate(tmp_path, permit_join_s=0)
    gate.refused("a")
    gate.now_s += 1
    gate.refused("a", key_of("a thief"))
    Registry(tmp_path).accept("a")
    row = gate.registry.find("a")
    assert row is not None
    assert row.key == key_of("a").public


def test_a_board_that_was_installed_anew_is_taken_up_when_its_key_is_accepted(gate: Gate) -> None:
    gate.status("a")
    new = key_of("a, installed anew")
    assert gate.refused("a", new) is RejectReason.WRONG_SIGNATURE
    Registry(gate.directory).accept("a", new.public)
    barred, again = gate.admission.look_for_changes()
    assert barred == frozenset()
    taken = []
    for device, topic, payload in again:
        try:
            taken.append(gate.admission.open_status(device, topic, payload).key)
        except ProtocolError:
            continue
    assert taken == [new.public]


def test_a_strangers_status_does_not_take_the_place_of_a_quarantined_devices(gate: Gate) -> None:
    gate.status("a")
    for _ in range(3):
        gate.admission.count_failure("a", "NaN", rejected=True)
    assert gate.refused("a", key_of("b")) is RejectReason.WRONG_SIGNATURE
    Registry(gate.directory).readmit("a")
    _, again = gate.admission.look_for_changes()
    own = [payload for _, _, payload in again]
    assert gate.admission.open_status("a", TOPICS.device("a", "status"), own[0]).key == (
        key_of("a").public
    )


def test_a_window_lets_in_no_more_than_a_federation_may_have(gate: Gate) -> None:
    for name in "abcde":
        gate.status(name)
    assert gate.refused("f") is RejectReason.NOT_ENROLLED
    gate.status("a")


def test_the_window_of_a_federation_is_not_opened_again_by_a_restart(tmp_path: Path) -> None:
    Gate(tmp_path, permit_join_s=100)
    Registry(tmp_path).permit_join(0)
    assert Gate(tmp_path, permit_join_s=100).refused("a") is RejectReason.NOT_ENROLLED


def test_a_rotated_key_is_followed_and_the_old_one_is_over(gate: Gate) -> None:
    gate.status("a")
    old, new = key_of("a"), key_of("a, later")
    owner = "lab/device/a"
    gate.status("a", new, successions=(make_succession(old, new.public, owner),))
    assert reason_of(lambda: gate.beat("a")) is RejectReason.WRONG_SIGNATURE
    assert gate.beat("a", signer="a, later") == BEAT
    assert gate.refused("a", old) is RejectReason.WRONG_SIGNATURE


def test_a_revoked_key_is_refused_and_its_rotations_too(gate: Gate) -> None:
    gate.status("a")
    Registry(gate.directory).revoke("a")
    barred, _ = gate.admission.look_for_changes()
    assert barred == {"a"}
    assert reason_of(lambda: gate.beat("a")) is RejectReason.REVOKED
    assert gate.refused("a") is RejectReason.REVOKED
    assert gate.refused("b", key_of("a")) is RejectReason.REVOKED
    new = key_of("thief")
    links = (make_succession(key_of("a"), new.public, "lab/device/a"),)
    assert gate.refused("a", new, successions=links) is RejectReason.REVOKED


def test_failures_in_a_row_lead_to_quarantine_and_a_person_ends_it(gate: Gate) -> None:
    gate.status("a")
    count = gate.admission.count_failure
    assert count("a", "NaN", rejected=True) is None
    assert count("a", "NaN", rejected=True) is None
    gate.admission.count_accepted("a")
    assert [count("a", "NaN", rejected=True) for _ in range(2)] == [None, None]
    assert count("a", "no space", rejected=False) == "3 failures in a row, the last: no space"
    assert reason_of(lambda: gate.beat("a")) is RejectReason.QUARANTINED
    assert gate.refused("a") is RejectReason.QUARANTINED
    Registry(gate.directory).readmit("a")
    _, again = gate.admission.look_for_changes()
    gate.admission.open_status(*again[0])
    assert gate.beat("a") == BEAT
    assert count("a", "NaN", rejected=True) is None


def test_what_strangers_put_on_a_devices_topic_never_quarantines_it(gate: Gate) -> None:
    gate.status("a")
    for _ in range(20):
        assert reason_of(lambda: gate.beat("a", signer="b")) is RejectReason.WRONG_SIGNATURE
        assert gate.refused("a", key_of("b")) is RejectReason.WRONG_SIGNATURE
    assert gate.beat("a") == BEAT


def test_the_accept_list_lets_in_and_follows_its_file(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(f'[devices]\na = "{key_of("a").public}"\n')
    gate = Gate(tmp_path / "state", devices=path, permit_join_s=0)
    gate.status("a")
    assert gate.refused("b") is RejectReason.NOT_ENROLLED
    path.write_text(path.read_text() + f'b = "{key_of("b").public}"\n')
    _, again = gate.admission.look_for_changes()
    assert [name for name, _, _ in again] == ["b"]
    gate.admission.open_status(*again[0])
    path.write_text("[devices\n")
    gate.admission.look_for_changes()
    assert gate.beat("b") == BEAT


def test_the_list_neither_undoes_a_rotation_nor_a_revocation(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text("".join(["[devices]\n", *(f'{n} = "{key_of(n).public}"\n' for n in "ab")]))
    first = Gate(tmp_path / "state", devices=path)
    new = key_of("new a")
    first.status("a", new, successions=(make_succession(key_of("a"), new.public, "lab/device/a"),))
    first.registry.revoke("b")
    again = Gate(tmp_path / "state", devices=path)
    again.status("a", new)
    assert again.refused("b") is RejectReason.REVOKED


def test_a_bad_accept_list_is_said_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    with pytest.raises(ConfigurationError, match=r"devices\.toml: cannot be read"):
        Gate(tmp_path / "state", devices=path)
    path.write_text('[devices]\npi = "not a key"\n')
    with pytest.raises(ConfigurationError, match=r"devices\.toml"):
        Gate(tmp_path / "state", devices=path)


def test_a_copied_card_is_noticed(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for boot in ("one", "two", "three"):
            gate.status("a", boot=boot)
        assert "two machines" not in caplog.text
        gate.status("a", boot="one")
    assert "two machines speak as a" in caplog.text


def test_what_devices_did_is_in_the_registry(gate: Gate) -> None:
    gate.status("a")
    gate.admission.quotas.take("a", 100)
    gate.admission.quotas.take("", 70)
    gate.admission.count_accepted("a")
    gate.admission.write_down_traffic()
    row = gate.registry.find("a")
    assert row is not None
    assert (row.accepted, row.messages, row.bytes) == (1, 1, 100)


def test_failures_of_a_device_that_was_revoked_meanwhile_make_no_quarantine_of_it(
    gate: Gate,
) -> None:
    gate.status("a")
    other = Registry(gate.directory)
    other.revoke("a")
    other.close()
    for _ in range(3):
        assert gate.admission.count_failure("a", "NaN", rejected=True) is None
    row = gate.registry.find("a")
    assert row is not None
    assert row.standing is Standing.REVOKED
