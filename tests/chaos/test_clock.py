"""Clocks that are wrong by years: nobody is ordered by them, and nothing waits for them."""

from __future__ import annotations

import shutil

import pytest
from chaos.scene import COORDINATOR, Scene

YEAR_S = 365.25 * 86_400.0


@pytest.mark.parametrize(
    "jumps", [(30.0, -30.0), (-10.0, 10.0), (0.0, 80.0)], ids=["back", "forth", "far"]
)
def test_a_coordinator_whose_clock_jumps_by_years_goes_on_with_the_same_devices(
    scene: Scene, jumps: tuple[float, float]
) -> None:
    for name in ("device-00", "device-01"):
        scene.start(name)
    for years in (*jumps, 0.0):
        coordinator = scene.start(COORDINATOR, clock_s=years * YEAR_S)
        scene.wait_for_rounds(2)
        coordinator.kill()
    for number in range(1, scene.last_closed() + 1):
        assert {m.status for m in scene.members_of(number).values()} == {"accepted"}, number
    assert all(scene.members[name].is_running for name in ("device-00", "device-01"))


def test_a_coordinator_that_lost_its_journal_is_followed_whatever_its_clock_said(
    scene: Scene,
) -> None:
    """Also by devices that remember announcements of a clock that was ahead by years."""
    scene.start("device-00")
    device = scene.start("device-01")
    scene.start(COORDINATOR, clock_s=5 * YEAR_S)
    scene.wait_for_rounds(2)
    scene.members[COORDINATOR].kill()
    state = scene.state_of(COORDINATOR)
    for path in state.glob("journal.sqlite*"):  # and not its key, by which it is known
        path.unlink()
    shutil.rmtree(state / "models")
    device.kill()
    scene.start(COORDINATOR, clock_s=6 * YEAR_S)
    scene.start("device-01")
    scene.wait_for_rounds(2)


def test_devices_whose_clocks_are_wrong_take_part_as_any_other(scene: Scene) -> None:
    scene.start(COORDINATOR)
    scene.start("device-00", clock_s=-50 * YEAR_S)
    device = scene.start("device-01", clock_s=70 * YEAR_S)
    scene.wait_for_rounds(2)
    device.kill()
    scene.start("device-01", clock_s=-20 * YEAR_S)
    scene.wait_for_rounds(3)
    last = scene.members_of(scene.last_closed())
    assert {name: row.status for name, row in last.items()} == {
        "device-00": "accepted",
        "device-01": "accepted",
    }
