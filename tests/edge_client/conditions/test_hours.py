"""Windows of local time."""

from __future__ import annotations

import time

import pytest

from pfedfrz_edge.conditions.hours import Hours
from pfedfrz_protocol import ConfigurationError


def at(text: str) -> time.struct_time:
    return time.strptime(text, "%H:%M")


@pytest.mark.parametrize(
    ("windows", "inside", "outside"),
    [
        (["22:00-06:00"], ["22:00", "23:59", "00:00", "05:59"], ["06:00", "12:00", "21:59"]),
        (["09:30-17:00"], ["09:30", "16:59"], ["09:29", "17:00", "00:00"]),
        (["12:00-24:00"], ["12:00", "23:59"], ["11:59", "00:00"]),
        (["00:00-01:00", "13:00-14:00"], ["00:30", "13:30"], ["01:00", "12:59", "14:00"]),
    ],
)
def test_it_trains_inside_of_a_window(
    windows: list[str], inside: list[str], outside: list[str]
) -> None:
    for text in inside:
        assert Hours(windows, lambda text=text: at(text)).check() is None, text
    for text in outside:
        rule = Hours(windows, lambda text=text: at(text))
        assert rule.check() == f"hours: trains at {', '.join(windows)}", text
        assert rule.value == text


@pytest.mark.parametrize(
    "text",
    ["", "22-6", "22:00-22:00", "24:00-06:00", "22:00-24:01", "22:60-23:00", "9:00-10:00",
     "22:00-06:00 ", "\u0662\u0662:00-06:00"],
)  # fmt: skip
def test_another_form_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write windows such as") as caught:
        Hours([text])
    assert "\n" not in str(caught.value)
