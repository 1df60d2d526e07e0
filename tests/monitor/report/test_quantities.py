from __future__ import annotations

import pytest

from pfedfrz_monitor.report.quantities import (
    MISSING,
    bytes_text,
    duration_text,
    loss_text,
    percent_text,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (123_456_789, "123 MB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_bytes(count: int, text: str) -> None:
    assert bytes_text(count) == text.replace(" ", "\N{NO-BREAK SPACE}")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (103.4, "1 min 43 s"),
        (3599.9, "1 h 0 min"),
        (7384, "2 h 3 min"),
        (float("nan"), MISSING),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds).replace("\N{NO-BREAK SPACE}", " ") == text


def test_shares_and_losses() -> None:
    assert percent_text(0.94149) == "94.1\N{NO-BREAK SPACE}%"
    assert percent_text(None) == percent_text(float("nan")) == MISSING
    assert loss_text(0.123456) == "0.123"
    assert loss_text(None) == MISSING
    assert loss_text(float("inf")) == "not finite"
