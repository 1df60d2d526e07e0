"""A run written by hand, small enough to check by hand."""

from __future__ import annotations

import pytest

from pfedfrz_monitor.report import Closing, DeviceRecord, RoundRecord, RunRecord, RunSettings


@pytest.fixture
def settings() -> RunSettings:
    return RunSettings(
        method="pfedfrz",
        dataset="mnist",
        alpha=0.1,
        model="cnn-small",
        personal="front",
        devices=3,
        attackers=1,
        attack="sign-flip",
        rounds=2,
        seed=7,
        runtime="onnxruntime",
        broker="mosquitto",
        command="pfedfrz emulate --devices 3",
        dataset_source="the cache",
        started_at="2025-06-01 12:00 +0000",
        details=(("batch size", "32"),),
    )


@pytest.fixture
def record(settings: RunSettings) -> RunRecord:
    return RunRecord(
        settings=settings,
        devices=(
            DeviceRecord("d1", False, 100, (0.75, 0.25), (0.2, 0.6), (0.4, 0.8)),
            DeviceRecord("d2", True, 100, (0.0, 1.0), (0.9, 0.1), (0.9, 0.1)),
            DeviceRecord("d3", False, 50, (0.5, 0.5), (0.4, None), (0.6, 0.9)),
        ),
        rounds=(
            RoundRecord(1, 0.5, 2.0, 3, 3, 0, 300, 400, 1.25),
            RoundRecord(2, 3.0, 2.5, 3, 1, 2, 200, 400, float("nan")),
        ),
        wall_s=6.25,
        rejected={"norm-exceeded": 1, "late": 1},
        closing=Closing((0.7, 0.0, 0.9), (0.8, 0.0, 1.0), 5, 600),
        notes=("d3 was late in round 2",),
    )
