"""Disks that are full or read-only, under real processes: one clear line, and nothing is lost."""

from __future__ import annotations

import re
import sqlite3

import pytest
from chaos.scene import COORDINATOR, Running, Scene


def assert_one_clear_line(member: Running, *says: str) -> None:
    assert member.ends() == 1
    (line,) = member.errors
    assert any(re.search(words, line) for words in says), line
    assert not any("Traceback" in line for line in member.lines)


def assert_nothing_is_lost(scene: Scene) -> None:
    """Every round was closed once, in order, and who was accepted is in its numbers."""
    db = sqlite3.connect(scene.files.journal)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    rows = [row for row in scene.rounds() if row.closed_at]
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        accepted = [m for m in scene.members_of(row.number).values() if m.status == "accepted"]
        assert row.metrics is not None
        assert row.metrics.accepted == len(accepted) >= 1


def test_a_coordinator_whose_disk_is_full_ends_with_one_line_and_goes_on_on_a_disk_that_is_well(
    running: Scene,
) -> None:
    running.members[COORDINATOR].fill_disk()
    assert_one_clear_line(running.members[COORDINATOR], "File too large", "full", "I/O error")
    before = running.last_closed()
    again = running.start(COORDINATOR, full=True)
    assert_one_clear_line(again, "File too large", "full", "I/O error")
    assert running.last_closed() == before
    running.start(COORDINATOR)
    running.wait_for_rounds(3)
    assert_nothing_is_lost(running)
    assert not list(running.state_of(COORDINATOR).glob("models/*.partial-*"))
    both = running.members_of(running.last_closed())
    assert {m.status for m in both.values()} == {"accepted"}


def test_a_coordinator_whose_disk_is_read_only_likewise(running: Scene) -> None:
    with running.read_only(COORDINATOR):
        assert_one_clear_line(running.members[COORDINATOR], "cannot (write|make) .*denied")
        again = running.start(COORDINATOR)
        assert_one_clear_line(again, "denied", "readonly", "unable to open")
    running.start(COORDINATOR)
    running.wait_for_rounds(3)
    assert_nothing_is_lost(running)


def test_a_coordinator_never_acknowledges_what_its_disk_did_not_take(running: Scene) -> None:
    """Devices keep their updates until the disk is well, and no round needs a second training."""
    coordinator, device = running.members[COORDINATOR], running.members["device-00"]
    device.pause()
    running.wait(lambda: running.waits_for("device-00"), "a round waits for the device")
    coordinator.fill_disk()
    device.pause(False)
    assert_one_clear_line(coordinator, "File too large", "full", "I/O error")
    pending = running.state_of("device-00") / "pending-update.msgpack"
    open_round = running.last_closed() + 1
    running.wait(pending.exists, "the device has trained and waits")
    kept = running.personal("device-00")
    assert kept[0] == open_round
    running.start(COORDINATOR)
    running.wait(lambda: running.last_closed() >= open_round, "the round has closed")
    assert {m.status for m in running.members_of(open_round).values()} == {"accepted"}
    assert device.is_running
    running.wait_for_rounds(2)
    assert_nothing_is_lost(running)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_device_whose_disk_does_not_take_its_weights_says_so_and_goes_on_when_it_does(
    running: Scene, how: str
) -> None:
    device = running.members["device-01"]
    said = len(device.lines)

    def complaints() -> list[str]:
        return [line for line in device.lines[said:] if "cannot write" in line]

    if how == "full":
        device.fill_disk()
        running.wait(lambda: len(complaints()) >= 1, "the device complains")
        kept = running.personal("device-01")
        running.wait_for_rounds(2)  # the others do not wait for it
        assert running.personal("device-01") == kept
        device.fill_disk(False)
    else:
        with running.read_only("device-01"):
            running.wait(lambda: len(complaints()) >= 1, "the device complains")
            kept = running.personal("device-01")
            running.wait_for_rounds(2)
            assert running.personal("device-01") == kept
    reason = "File too large" if how == "full" else "Permission denied"
    assert any("personal-" in line for line in complaints())
    assert all(reason in line for line in complaints())
    assert not any("Traceback" in line for line in device.lines)
    healed = running.last_closed()

    def is_counted_again() -> bool:
        numbers = range(healed + 1, running.last_closed() + 1)
        rows = (running.members_of(number).get("device-01") for number in numbers)
        return any(row is not None and row.status == "accepted" for row in rows)

    running.wait(is_counted_again, "the device is counted again")
    assert device.is_running
    assert running.personal("device-01") > kept
    assert_nothing_is_lost(running)


def test_a_device_that_is_started_on_a_disk_that_it_cannot_write_says_so_in_one_line(
    scene: Scene,
) -> None:
    scene.start(COORDINATOR)
    with scene.read_only(""):
        assert_one_clear_line(scene.start("device-00"), "cannot make .*device-00: Permission")
    scene.start("device-00")
    scene.start("device-01")
    scene.wait_for_rounds(1)
