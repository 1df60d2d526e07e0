"""Curves in dots."""

from __future__ import annotations

from pfedfrz_monitor.terminal.curves import draw_curves
from pfedfrz_monitor.terminal.pieces import Tone


def drawn(lines: list[list[tuple[str, Tone]]]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def test_a_rising_curve_goes_from_the_lower_left_to_the_upper_right() -> None:
    lines = drawn(draw_curves([], [0.0, 1.0], 9, 2))
    assert lines == ["100 %  ⡠⠊", "  0 %⡠⠊  "]


def test_nothing_is_drawn_where_nothing_is_known_and_no_share_leaves_its_frame() -> None:
    lines = draw_curves([None, None], [2.0, None, -1.0], 11, 3)
    assert {len(line) for line in drawn(lines)} == {11}
    assert not any(tone is Tone.RECEIVED and text.strip() for line in lines for text, tone in line)


def test_many_rounds_are_the_last_ones_that_fit() -> None:
    assert drawn(draw_curves([], [0.0] * 1000 + [1.0] * 8, 9, 2))[1].strip() == "0 %"


def test_without_room_there_is_no_curve() -> None:
    assert draw_curves([0.5], [0.5], 8, 4) == []
