"""What is said of who is in, from the registry's rows."""

from pathlib import Path

from identities import key_of

from pfedfrz_coordinator.membership import membership
from pfedfrz_coordinator.registry import Registry, RegistryRow, Standing
from pfedfrz_protocol import MAX_LISTED, Membership, decode_message, encode_message


def test_every_standing_has_its_place(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for name in ("b", "a", "out", "gone"):
        registry.enrol(name, key_of(name).public)
    registry.let_wait("new", key_of("new").public)
    registry.quarantine("out", "5 failures in a row")
    registry.revoke("gone")
    assert membership(registry.rows(), joining=True) == Membership(
        2, ("new",), {"out": "5 failures in a row"}, ("gone",), True
    )
    registry.close()


def test_lists_end_and_the_message_stays_one_that_a_broker_takes() -> None:
    rows = [
        RegistryRow(
            f"{kind.value}-{n}-".ljust(64, "x"), "", "", kind, '"' * 500, 0.0, 0, 0, 0, 0, 0, 0
        )
        for kind in Standing
        for n in range(MAX_LISTED + 1)
    ]
    told = membership(rows, joining=False)
    assert told.enrolled == MAX_LISTED + 1
    assert {len(told.waiting), len(told.quarantined), len(told.revoked)} == {MAX_LISTED}
    payload = encode_message(told)
    assert decode_message(payload, Membership) == told
    assert len(payload) < 2 << 20
