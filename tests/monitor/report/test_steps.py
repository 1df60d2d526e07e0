from __future__ import annotations

from dataclasses import replace

import pytest

from pfedfrz_monitor.report import Part, RunRecord, encode_page
from pfedfrz_monitor.report.step_chart import _Scale, step_chart
from pfedfrz_monitor.report.steps import StepKind, step_series


def run_of(record: RunRecord, cosines: list[float], norms: list[float]) -> RunRecord:
    """Devices d0, d1, ... with the same cosine and norm in both rounds."""
    pattern = replace(record.devices[0], attacker=False)
    devices = tuple(
        replace(pattern, device=f"d{n}", parts=(Part("accepted", norm, cosine),) * 2)
        for n, (cosine, norm) in enumerate(zip(cosines, norms, strict=True))
    )
    settings = replace(record.settings, attackers=None, attack=None, devices=len(devices))
    return replace(record, settings=settings, devices=devices, closing=None)


@pytest.mark.parametrize(
    ("cosines", "norms", "far"),
    [
        ([0.8, 0.7, 0.75, 0.8, -0.6], [1.0] * 5, ["d4"]),
        ([0.8] * 5, [1.0, 1.1, 0.9, 1.0, 40.0], ["d4"]),
        ([0.8] * 5, [1.0, 1.1, 0.9, 1.0, 0.01], ["d4"]),
        ([0.8, 0.7, 0.75, 0.8, 0.7], [1.0, 1.1, 0.9, 1.2, 0.8], []),
        ([0.8, 0.8, 0.8, 0.8, 0.81], [1.0, 1.0, 1.0, 1.0, 1.02], []),
        ([0.8, 0.8, -0.9], [1.0, 1.0, 90.0], []),
    ],
    ids=["against", "long", "short", "alike", "all-but-equal", "too-few"],
)
def test_who_is_far_from_the_others_stands_out(
    record: RunRecord, cosines: list[float], norms: list[float], far: list[str]
) -> None:
    run = run_of(record, cosines, norms)
    series = [one for kind in StepKind for one in step_series(run, kind)]
    assert [one.device.device for one in series if one.stands_out] == far
    text = encode_page(run).decode()
    assert ("or kept pulling against them: d4." in text) == bool(far)


def test_who_pulled_against_the_others_again_and_again_stands_out(record: RunRecord) -> None:
    """Near the median of cosines that are all small, and hardly above 0."""
    again = (-0.1, -0.18, -0.14, -0.13, -0.16, -0.06)
    run = run_of(record, [0.02, -0.01, 0.03, 0.0, 0.0], [1.0] * 5)
    nothing = (None,) * len(again)
    devices = tuple(
        replace(device, received=nothing, local=nothing, parts=device.parts[:1] * len(again))
        for device in run.devices
    )
    parts = tuple(Part("accepted", 1.0, cosine) for cosine in again)
    run = replace(
        run,
        rounds=tuple(replace(run.rounds[0], round=n + 1) for n in range(len(again))),
        devices=(*devices[:4], replace(devices[4], parts=parts)),
    )
    found = step_series(run, StepKind.COSINE)
    assert [one.device.device for one in found if one.stands_out] == ["d4"]


@pytest.mark.parametrize(
    ("cosines", "ticks"),
    [
        ([0.05, -0.1, 0.1], [-0.2, -0.1, 0.0, 0.1, 0.2]),
        ([0.3, -0.1], [-0.4, -0.2, 0.0, 0.2, 0.4]),
        ([0.3, -0.38], [-1.0, -0.5, 0.0, 0.5, 1.0]),
        ([0.05, 0.1], [0.0, 0.05, 0.1, 0.15, 0.2]),
    ],
)
def test_cosines_have_the_room_that_they_need_and_a_line_at_0(
    record: RunRecord, cosines: list[float], ticks: list[float]
) -> None:
    assert _Scale(StepKind.COSINE, record, cosines).ticks == ticks


def test_devices_whose_updates_were_never_accepted_have_no_line(record: RunRecord) -> None:
    run = run_of(record, [0.5] * 4, [1.0] * 4)
    silent = replace(run.devices[0], parts=(Part("failed"), None))
    run = replace(run, devices=(silent, *run.devices[1:]))
    assert len(step_series(run, StepKind.NORM)) == 3


def test_a_crowd_is_a_band_and_attackers_stay_lines(record: RunRecord) -> None:
    run = run_of(record, [0.5] * 500, [1.0] * 500)
    attacking = replace(run.devices[3], attacker=True)
    run = replace(
        run,
        settings=replace(run.settings, attackers=1, attack="sign-flip"),
        devices=(*run.devices[:3], attacking, *run.devices[4:]),
    )
    drawing = step_chart(run, StepKind.COSINE, step_series(run, StepKind.COSINE))
    kinds = [node.get("class") for node in drawing if node.tag in ("g", "polygon")]
    assert kinds == ["band local", "step crowd", "step apart attacker"]


@pytest.mark.parametrize("norms", [[0.0] * 4, [0.0, 1e-30, 1e30, 1.0], [5.0] * 4])
def test_extreme_lengths_are_drawn_inside_the_frame(record: RunRecord, norms: list[float]) -> None:
    run = run_of(record, [0.0] * 4, norms)
    drawing = step_chart(run, StepKind.NORM, step_series(run, StepKind.NORM))
    points = [p for line in drawing.iter("polyline") for p in line.get("points", "").split()]
    assert points
    assert all(0 <= float(p.partition(",")[2]) <= 270 for p in points)
