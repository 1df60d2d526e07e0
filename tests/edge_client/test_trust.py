"""Whom a device believes."""

from pathlib import Path

import pytest
from identities import key_of

from pfedfrz_edge.trust import CoordinatorTrust
from pfedfrz_protocol import (
    Control,
    CoordinatorStatus,
    DesiredState,
    OperationError,
    Presence,
    ProtocolError,
    RejectReason,
    SigningKey,
    Succession,
    Topics,
    make_succession,
    sign_message,
)

TOPICS = Topics("lab")
FIRST, SECOND, OTHER = key_of("first"), key_of("second"), key_of("other")
RUN = Control(DesiredState.RUN, 3)


def hears(
    trust: CoordinatorTrust, key: SigningKey, *links: Succession, signer: SigningKey | None = None
) -> bool:
    topic = TOPICS.coordinator_status
    status = CoordinatorStatus(Presence.ONLINE, "0" * 64, 3, key.public, links)
    return trust.hear_status(topic, sign_message(status, topic, signer or key))


def believes(trust: CoordinatorTrust, key: SigningKey) -> bool:
    try:
        trust.open(TOPICS.control, sign_message(RUN, TOPICS.control, key), Control)
    except ProtocolError as error:
        assert error.reason is RejectReason.WRONG_SIGNATURE  # noqa: PT017
        return False
    return True


def test_the_first_coordinator_heard_is_trusted_from_then_on(tmp_path: Path) -> None:
    trust = CoordinatorTrust(tmp_path, "lab", None)
    assert not believes(trust, FIRST)
    assert hears(trust, FIRST)
    assert not hears(trust, FIRST)
    assert believes(trust, FIRST)
    for later in (trust, CoordinatorTrust(tmp_path, "lab", None)):
        with pytest.raises(ProtocolError, match="a coordinator with another key"):
            hears(later, OTHER)
        assert believes(later, FIRST)
        assert not believes(later, OTHER)


def test_a_configured_key_is_the_only_one_from_the_beginning(tmp_path: Path) -> None:
    trust = CoordinatorTrust(tmp_path, "lab", FIRST.public)
    assert believes(trust, FIRST)
    with pytest.raises(ProtocolError):
        hears(trust, OTHER)


def test_a_rotation_is_followed_kept_and_never_undone(tmp_path: Path) -> None:
    link = make_succession(FIRST, SECOND.public, "lab/coordinator")
    trust = CoordinatorTrust(tmp_path, "lab", FIRST.public)
    assert hears(trust, SECOND, link)
    for later in (trust, CoordinatorTrust(tmp_path, "lab", FIRST.public)):
        assert believes(later, SECOND)
        assert not believes(later, FIRST)
        with pytest.raises(ProtocolError):
            hears(later, FIRST)


def test_another_configured_key_begins_anew(tmp_path: Path) -> None:
    hears(CoordinatorTrust(tmp_path, "lab", None), OTHER)
    assert believes(CoordinatorTrust(tmp_path, "lab", FIRST.public), FIRST)


def test_a_status_that_its_own_key_did_not_sign_pins_nothing(tmp_path: Path) -> None:
    trust = CoordinatorTrust(tmp_path, "lab", None)
    with pytest.raises(ProtocolError, match="not signed with the key it carries"):
        hears(trust, FIRST, signer=OTHER)
    assert trust.key is None


def test_a_damaged_pin_is_said_and_not_replaced_by_whoever_comes(tmp_path: Path) -> None:
    (tmp_path / "coordinator-key.json").write_text("{")
    with pytest.raises(OperationError, match="is damaged: set coordinator_key"):
        CoordinatorTrust(tmp_path, "lab", None)
