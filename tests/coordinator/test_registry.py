"""Who is known, on the disk."""

import sqlite3
from pathlib import Path

import pytest
from identities import key_of

from pfedfrz_coordinator.registry import Registry, Standing
from pfedfrz_protocol import ConfigurationError

A, B = key_of("a").public, key_of("b").public


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def standing(registry: Registry, name: str) -> Standing:
    row = registry.find(name)
    assert row is not None
    return row.standing


def test_an_enrolled_device_is_there_after_a_restart(tmp_path: Path) -> None:
    first = Registry(tmp_path)
    first.enrol("pi", A)
    first.close()
    (row,) = Registry(tmp_path).rows()
    assert (row.name, row.key, row.origin, row.standing) == ("pi", A, A, Standing.ENROLLED)


def test_another_process_that_writes_is_noticed_once(tmp_path: Path) -> None:
    mine, other = Registry(tmp_path), Registry(tmp_path)
    mine.enrol("pi", A)
    assert not mine.changed()
    other.revoke("pi")
    assert mine.changed()
    assert not mine.changed()
    assert standing(mine, "pi") is Standing.REVOKED


def test_a_revoked_key_is_refused_under_every_name_for_ever(registry: Registry) -> None:
    registry.enrol("pi", A)
    registry.replace_key("pi", B)
    registry.revoke("pi")
    for name in ("pi", "another"):
        for key in (A, B):
            with pytest.raises(ConfigurationError, match="was revoked"):
                registry.enrol(name, key)
    new = key_of("new").public
    registry.accept("pi", new)
    assert standing(registry, "pi") is Standing.ENROLLED


def test_a_list_with_one_impossible_line_lets_nobody_in(registry: Registry) -> None:
    with pytest.raises(ConfigurationError, match="is not a public key"):
        registry.enrol_all({"pi": A, "other": "xyz"})
    assert registry.rows() == []


def test_who_waits_is_accepted_with_the_key_it_asked_with(registry: Registry) -> None:
    registry.let_wait("pi", A)
    assert standing(registry, "pi") is Standing.WAITING
    registry.accept("pi")
    row = registry.find("pi")
    assert row is not None
    assert (row.standing, row.key) == (Standing.ENROLLED, A)


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda r: r.accept("nobody"), "no device 'nobody' is known"),
        (lambda r: r.readmit("pi"), "pi is enrolled, not quarantined"),
        (lambda r: r.accept("gone"), "gone is revoked; give the key"),
        (lambda r: r.accept("ill"), "ill is quarantined; use readmit"),
        (lambda r: r.enrol("a/b", A), "device 'a/b' is not usable"),
    ],
)
def test_what_cannot_be_done_is_said(registry: Registry, act: object, says: str) -> None:
    registry.enrol("pi", A)
    registry.enrol("gone", B)
    registry.revoke("gone")
    registry.enrol("ill", key_of("ill").public)
    registry.quarantine("ill", "NaN")
    with pytest.raises(ConfigurationError, match=says):
        act(registry)  # type: ignore[operator]


def test_made_up_names_do_not_fill_the_disk(registry: Registry) -> None:
    with registry._transaction():
        for number in range(1000):
            registry._put(f"x{number}", A, A, Standing.WAITING, "")
    assert not registry.let_wait("one-more", A)
    assert registry.find("one-more") is None
    assert registry.let_wait("x7", B)


def test_an_accepted_update_ends_a_row_of_failures(registry: Registry) -> None:
    registry.enrol("pi", A)
    assert registry.count_failure("pi", rejected=True) == 1
    assert registry.count_failure("pi", rejected=False) == 2
    registry.count_accepted({"pi": 3})
    assert registry.count_failure("pi", rejected=True) == 1
    row = registry.find("pi")
    assert row is not None
    assert (row.accepted, row.rejected) == (3, 2)


def test_the_window_is_open_for_as_long_as_was_said(registry: Registry) -> None:
    assert registry.permit_join_s() is None
    registry.permit_join(60)
    assert 59 < (registry.permit_join_s() or 0) <= 60
    registry.permit_join(0)
    assert registry.permit_join_s() == 0


def test_a_registry_that_nobody_has_made_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="start the coordinator once"):
        Registry(tmp_path / "nowhere", create=False)
    assert not (tmp_path / "nowhere").exists()


def test_what_devices_wait_for_is_remembered_until_it_is_over(registry: Registry) -> None:
    registry.enrol("pi", A)
    registry.note_waiting({"pi": "power: not on mains", "stranger": "x"})
    assert [(row.name, row.waiting_for) for row in registry.rows()] == [
        ("pi", "power: not on mains")
    ]
    registry.note_waiting({"pi": ""})
    assert registry.rows()[0].waiting_for == ""


def test_a_file_of_an_earlier_version_gets_the_column_and_keeps_its_rows(tmp_path: Path) -> None:
    first = Registry(tmp_path)
    first.enrol("pi", A)
    first.close()
    database = sqlite3.connect(tmp_path / "devices.sqlite")
    database.execute("ALTER TABLE devices DROP COLUMN waiting_for")
    database.commit()
    database.close()
    for _ in range(2):
        again = Registry(tmp_path)
        (row,) = again.rows()
        assert (row.name, row.waiting_for) == ("pi", "")
        again.note_waiting({"pi": "hot"})
        again.note_waiting({"pi": ""})
        again.close()


def test_a_pause_is_there_after_a_restart_until_it_is_resumed(tmp_path: Path) -> None:
    first = Registry(tmp_path)
    assert not first.is_paused()
    first.pause(True)
    first.close()
    again = Registry(tmp_path)
    assert again.is_paused()
    again.pause(False)
    assert not Registry(tmp_path).is_paused()


def test_only_who_is_let_in_is_quarantined_and_a_revocation_stays_one(registry: Registry) -> None:
    registry.let_wait("new", B)
    registry.enrol("pi", A)
    assert registry.quarantine("pi", "slow")
    assert not registry.quarantine("pi", "slower")
    row = registry.find("pi")
    assert row is not None
    assert (row.standing, row.reason) == (Standing.QUARANTINED, "slow")
    registry.readmit("pi")
    registry.revoke("pi")
    assert not registry.quarantine("pi", "failures that came in late")
    assert standing(registry, "pi") is Standing.REVOKED
    for name, said in (("pi", "pi is revoked, not enrolled"), ("new", "new is waiting")):
        with pytest.raises(ConfigurationError, match=said):
            registry.keep_out(name, "by command")
    with pytest.raises(ConfigurationError, match="no device 'nobody'"):
        registry.keep_out("nobody", "by command")
