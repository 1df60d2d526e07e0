from __future__ import annotations

from dataclasses import replace

from pfedfrz_monitor.report import DeviceRecord, RoundRecord, RunRecord
from pfedfrz_monitor.report.frame import ChartSize
from pfedfrz_monitor.report.line_chart import accuracy_chart
from pfedfrz_monitor.report.markup import Element

SIZE = ChartSize(900, 300, right=120)


def with_accuracy(record: RunRecord, *received: float | None) -> RunRecord:
    """The run with one device, these accuracies and as many rounds."""
    missing = tuple(None for _ in received)
    return replace(
        record,
        devices=(DeviceRecord("d", False, 10, (0.5, 0.5), received, missing),),
        rounds=tuple(RoundRecord(n + 1, 0, 1, 1, 1, 0, 1, 1) for n in range(len(received))),
        closing=None,
    )


def drawn(chart: Element, kind: str) -> list[Element]:
    return [part for part in chart.iter() if part.get("class") == kind]


def points(line: Element) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in line.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def test_higher_accuracy_is_drawn_higher_and_later_rounds_further_right(record: RunRecord) -> None:
    chart = accuracy_chart(with_accuracy(record, 0.2, 0.5, 0.4), SIZE, "wide")
    (line,) = drawn(chart, "mean received")
    (x1, y1), (x2, y2), (x3, y3) = points(line)
    assert x1 < x2 < x3
    assert y2 < y3 < y1
    assert not drawn(chart, "mean local")


def test_a_gap_is_not_bridged(record: RunRecord) -> None:
    chart = accuracy_chart(with_accuracy(record, 0.2, 0.3, None, 0.4, 0.5, 0.6), SIZE, "wide")
    assert [len(points(line)) for line in drawn(chart, "mean received")] == [2, 3]


def test_a_single_round_is_a_mark_with_a_bar(record: RunRecord) -> None:
    chart = accuracy_chart(with_accuracy(record, 0.4), SIZE, "wide")
    assert len(drawn(chart, "mark received")) == 1
    assert len(drawn(chart, "bar received")) == 1
    assert not drawn(chart, "mean received")


def test_rounds_that_were_not_run_are_shown_as_such(record: RunRecord) -> None:
    settings = replace(record.settings, rounds=9)
    chart = accuracy_chart(replace(record, settings=settings), SIZE, "wide")
    assert len(drawn(chart, "not-run")) == 1
    assert not drawn(accuracy_chart(record, SIZE, "wide"), "not-run")


def test_a_run_without_rounds_is_still_a_drawing(record: RunRecord) -> None:
    chart = accuracy_chart(with_accuracy(record), SIZE, "wide")
    assert "nothing was measured" in chart.attrib["aria-label"]


def test_everything_is_drawn_within_the_frame(record: RunRecord) -> None:
    for size in (SIZE, ChartSize(340, 250, right=16)):
        for part in accuracy_chart(record, size, "wide").iter():
            for name, most in (("x", size.width), ("y", size.height), ("cx", size.width)):
                assert 0 <= float(part.get(name, "0")) <= most


def test_end_labels_do_not_touch(record: RunRecord) -> None:
    close = replace(record.devices[0], received=(0.998, 0.999), local=(0.999, 1.0))
    chart = accuracy_chart(replace(record, devices=(close,), closing=None), SIZE, "wide")
    ends = [float(part.attrib["y"]) for part in chart.iter("text") if "end" in part.attrib["class"]]
    assert len(ends) == 2
    assert abs(ends[0] - ends[1]) >= 14
    assert min(ends) >= 10


def test_the_drawing_says_its_numbers_in_words(record: RunRecord) -> None:
    chart = accuracy_chart(record, SIZE, "wide")
    spoken = chart.attrib["aria-label"].replace("\N{NO-BREAK SPACE}", " ")
    assert spoken == (
        "Accuracy per round, mean over benign devices: received from 30.0 % to 60.0 %; "
        "local from 50.0 % to 85.0 %"
    )
