import math
from contextlib import closing
from pathlib import Path

import pytest

from pfedfrz_coordinator.journal import Journal, RoundRow
from pfedfrz_coordinator.round_metrics import summarize_round
from pfedfrz_protocol import (
    LocalReport,
    Purpose,
    RoundMetrics,
    decode_message,
    encode_message,
)

ROW = RoundRow(1, Purpose.TRAIN, 0, 0.0, None, None)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.open_round(1, Purpose.TRAIN, 0, "a", ("a", "b", "c"))
    return journal


def test_work_is_added_up_over_the_devices_that_reported(journal: Journal) -> None:
    with closing(journal):
        journal.record_report(1, "a", "offered", LocalReport(1, train_s=2.5, evaluate_s=0.5))
        journal.record_report(1, "b", "reported", LocalReport(1, train_s=4.0, evaluate_s=1.0))
        metrics = summarize_round(journal, ROW, {})
    assert (metrics.train_s, metrics.evaluate_s) == (6.5, 1.5)


def test_what_devices_make_up_stays_within_what_the_message_takes(journal: Journal) -> None:
    with closing(journal):
        for device in "abc":
            journal.record_report(1, device, "offered", LocalReport(1, train_s=9e8, evaluate_s=9e8))
        metrics = summarize_round(journal, ROW, {})
    assert decode_message(encode_message(metrics), RoundMetrics) == metrics


def test_cosines_are_told_of_accepted_updates_alone_and_within_their_bounds(
    journal: Journal,
) -> None:
    with closing(journal):
        for device in "ab":
            journal.accept(1, device, 1, 0.5, 100)
        journal.record_cosines(1, {"a": 1.0 + 1e-15, "c": 0.5})
        assert summarize_round(journal, ROW, {}).update_cosines == {"a": 1.0}
        journal.record_cosines(1, {"a": -math.inf, "b": -0.5})
        assert summarize_round(journal, ROW, {}).update_cosines == {"b": -0.5}
