"""A run as TensorBoard's event files: scalars by round, at the wall times of the run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from pfedfrz_protocol import ConfigurationError, OperationError, check_name

from ..report.records import DeviceRecord, Moment, RoundRecord, RunRecord
from ..report.spread import round_spreads

__all__ = ["export_tensorboard"]

_MOST_DEVICES = 200
"""Each is a run of its own to TensorBoard, which takes some seconds for some hundreds."""
_Scalar = tuple[str, float | None]


def export_tensorboard(record: RunRecord, directory: Path) -> tuple[Path, ...]:
    """Write the run, and each of the first 200 devices as a run of its own; their event files.

    ConfigurationError without tensorboardX, and for a directory that has event files.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ConfigurationError(
            "TensorBoard's event files need the package tensorboardX, which is not installed; "
            "pip install 'pfedfrz[tensorboard]'"
        ) from error
    if any(directory.rglob("events.out.tfevents.*")):
        raise ConfigurationError(
            f"{directory} has event files already, and TensorBoard would draw both: give another "
            "--out"
        )
    runs = {directory / "run": list(_of_run(record))}
    for device in record.devices[:_MOST_DEVICES]:
        place = directory / "devices" / check_name("device", device.device)
        runs[place] = list(_of_device(record, device))
    try:
        for place, steps in runs.items():
            writer = SummaryWriter(str(place))
            try:
                for row, scalars in steps:
                    for tag, value in scalars:
                        if value is not None and math.isfinite(value):
                            writer.add_scalar(tag, value, row.round, row.closed_at)
            finally:
                writer.close()
    except OSError as error:
        raise OperationError(f"cannot write {directory}: {error.strerror or error}") from error
    return tuple(sorted(directory.rglob("events.out.tfevents.*")))


def _of_run(record: RunRecord) -> Iterator[tuple[RoundRecord, list[_Scalar]]]:
    spreads = {moment: round_spreads(record, moment) for moment in Moment}
    for position, row in enumerate(record.rounds):
        scalars: list[_Scalar] = [("loss/train_mean", row.train_loss)]
        for moment, series in spreads.items():
            spread = series[position]
            if spread is not None:
                scalars += [
                    (f"accuracy/{moment.value}_mean", spread.mean),
                    (f"accuracy/{moment.value}_min", spread.min),
                ]
        scalars += [
            ("updates/accepted", row.accepted),
            ("updates/rejected", row.rejected),
            ("updates/missing", row.missing),
            ("bytes/uplink_bytes", row.uplink_bytes),
            ("bytes/downlink_bytes", row.downlink_bytes),
            ("seconds/duration_s", row.duration_s),
            ("seconds/train_s", row.train_s),
            ("seconds/evaluate_s", row.evaluate_s),
        ]
        yield row, scalars


def _of_device(
    record: RunRecord, device: DeviceRecord
) -> Iterator[tuple[RoundRecord, list[_Scalar]]]:
    for position, row in enumerate(record.rounds):
        part = device.parts[position] if device.parts else None
        scalars: list[_Scalar] = [
            ("accuracy/received", device.received[position]),
            ("accuracy/local", device.local[position]),
        ]
        if part is not None:
            scalars += [
                ("loss/train", part.loss),
                ("update/norm", part.norm),
                ("update/cosine", part.cosine),
                ("bytes/uplink_bytes", part.uploaded_bytes),
                ("seconds/train_s", part.train_s),
            ]
        yield row, scalars
