"""Which bundle each device has, as it said."""

from pathlib import Path

import pytest

from pfedfrz_coordinator.device_bundles import DeviceBundles, read_device_bundles
from pfedfrz_coordinator.journal import Journal
from pfedfrz_protocol import BundleInstalled, BundleRefused, OperationError

OLD, NEW = "a" * 64, "b" * 64
REFUSED = BundleRefused(5, NEW, "boot", "no room")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.sqlite")


def test_what_devices_said_is_there_for_another_process(tmp_path: Path, journal: Journal) -> None:
    known = DeviceBundles(tmp_path)
    known.has("a", OLD)
    known.has("b", NEW)
    known.answered("a", REFUSED, journal)
    known.answered("b", BundleInstalled(5, NEW, "boot", "all carried over"), journal)
    assert read_device_bundles(tmp_path) == {}
    known.write_down()
    found = read_device_bundles(tmp_path)
    assert (found["a"].bundle, found["a"].answered, found["a"].answer) == (OLD, NEW, "refused")
    assert (found["b"].bundle, found["b"].answer) == (NEW, "installed")
    known.close()
    assert DeviceBundles(tmp_path)._known == found


def test_an_answer_that_comes_again_is_no_news(tmp_path: Path, journal: Journal) -> None:
    known = DeviceBundles(tmp_path)
    for _ in range(5):
        known.answered("a", REFUSED, journal)
    assert journal.notes() == [f"a has refused the bundle {NEW[:12]}...: no room"]


def test_a_device_that_takes_turns_does_not_fill_the_journal(
    tmp_path: Path, journal: Journal
) -> None:
    known = DeviceBundles(tmp_path)
    for number in range(50):
        known.answered("a", BundleRefused(5, NEW, "boot", str(number)), journal)
    assert len(journal.notes()) == 8


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "device-bundles.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(OperationError, match="device-bundles"):
        read_device_bundles(tmp_path)
    with pytest.raises(OperationError, match="device-bundles"):
        DeviceBundles(tmp_path)
    (tmp_path / "device-bundles.sqlite").unlink()
    assert read_device_bundles(tmp_path) == {}
