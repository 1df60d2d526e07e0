"""The table of what each device has done: its updates, its bytes, its seconds."""

from __future__ import annotations

from collections import Counter

from .markup import Element, element
from .plain_table import MOST_ROWS, plain_table
from .quantities import bytes_text, duration_text
from .records import DeviceRecord, RunRecord

__all__ = ["work_table"]

_NUMBERS = ("asked", "accepted", "refused", "failed", "up", "down", "training", "measuring")


def work_table(record: RunRecord) -> Element:
    """A row for each device, at most `MOST_ROWS`."""
    refused = Counter(refusal.device for refusal in record.refusals)
    rows = [_work(device, refused[device.device]) for device in record.devices[:MOST_ROWS]]
    return plain_table("work", ("device", *_NUMBERS), rows, numbers=_NUMBERS)


def _work(device: DeviceRecord, refused: int) -> Element:
    parts = [part for part in device.parts if part is not None]
    badge = element("span", {"class": "badge"}, "attacker") if device.attacker else None
    standing = element("span", {"class": "standing"}, device.standing) if device.standing else None
    numbers = (
        str(len(parts)),
        str(sum(part.outcome == "accepted" for part in parts)),
        str(refused),
        str(sum(part.outcome == "failed" for part in parts)),
        bytes_text(sum(part.uploaded_bytes for part in parts)),
        bytes_text(sum(part.downloaded_bytes for part in parts)),
        duration_text(sum(part.train_s for part in parts)),
        duration_text(sum(part.evaluate_s for part in parts)),
    )
    cells = (element("td", {"class": "number"}, number) for number in numbers)
    name = element("th", {"scope": "row"}, device.device, badge, standing)
    return element("tr", {}, name, *cells)
