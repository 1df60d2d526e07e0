from __future__ import annotations

import logging

import pytest

from pfedfrz_coordinator.ignored_messages import IgnoredMessages
from pfedfrz_protocol import ProtocolError, RejectReason

TOPIC = "pfedfrz/lab/device/a/event"


def test_all_are_counted_by_reason_and_few_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    ignored = IgnoredMessages()
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            ignored.add(TOPIC, ProtocolError(RejectReason.MALFORMED, "no JSON"))
        ignored.add(TOPIC, ProtocolError(RejectReason.LATE, "of yesterday"))
    assert ignored.counts == {RejectReason.MALFORMED: 100, RejectReason.LATE: 1}
    assert len(caplog.records) == 7 + 1
    assert f"ignored a message on {TOPIC}: " in caplog.text


def test_counts_begin_anew_when_drained_and_the_log_stays_quiet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ignored, error = IgnoredMessages(), ProtocolError(RejectReason.LATE, "of yesterday")
    for _ in range(4):
        ignored.add(TOPIC, error)
    assert ignored.drain() == {RejectReason.LATE: 4}
    assert not ignored.counts
    caplog.clear()
    ignored.add(TOPIC, error)
    assert ignored.counts == {RejectReason.LATE: 1}
    assert not caplog.records


def test_what_a_sender_wrote_makes_no_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    IgnoredMessages().add(TOPIC, ProtocolError(RejectReason.MALFORMED, "a\nforged line\x1b[2J"))
    (record,) = caplog.records
    assert record.getMessage().isprintable()
